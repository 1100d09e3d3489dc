// How the page is looked at: "Why?", the presentation, and the words. What is on is part of the address, so that a
// reload or a link opens the page in the same way.

import { element } from "./dom.js";

const VIEWS = [
  { name: "why", key: "w", button: "why-button" },
  { name: "present", key: "f", button: "present-button" },
];

export class Views {
  #on = new Set();
  #changed;

  constructor(changed) {
    this.#changed = changed;
    for (const { name, button } of VIEWS) element(button).addEventListener("click", () => this.#toggle(name));
    element("words-button").addEventListener("click", () => element("words").showModal());
    addEventListener("keydown", (event) => this.#press(event));
    addEventListener("hashchange", () => this.#read());
    this.#read();
  }

  get why() {
    return this.#on.has("why");
  }

  #press({ key, ctrlKey, metaKey, altKey, target }) {
    if (ctrlKey || metaKey || altKey || target.matches("select") || element("words").open) return;
    const view = VIEWS.find((each) => each.key === key.toLowerCase());
    if (view) this.#toggle(view.name);
    else if (key === "?") element("words").showModal();
    else if (key === "Escape" && this.#on.has("present")) this.#toggle("present");
  }

  #toggle(name) {
    if (!this.#on.delete(name)) this.#on.add(name);
    const address = [...this.#on].join("&");
    history.replaceState(null, "", `${location.pathname}${location.search}${address && `#${address}`}`);
    this.#show();
  }

  #read() {
    const words = location.hash.slice(1).split("&");
    this.#on = new Set(VIEWS.map(({ name }) => name).filter((name) => words.includes(name)));
    this.#show();
  }

  #show() {
    for (const { name, button } of VIEWS) {
      document.documentElement.classList.toggle(name, this.#on.has(name));
      element(button).setAttribute("aria-pressed", this.#on.has(name));
    }
    this.#changed();
  }
}
