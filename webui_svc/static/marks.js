// What changed, and when: as lines on the graph, and as a list for whoever cannot see or point.

import { arrange, element, make, setText, show } from "./dom.js";
import { clock, count } from "./format.js";

const KEPT = 3600; // seconds
const MOST = 200;

export const isGap = (mark) => mark.kind === "gap";

export function text(mark) {
  if (isGap(mark)) return mark.until ? `no reports until ${clock(mark.until)}` : "no reports";
  if (mark.kind === "batch size") return `${mark.name} batch size ${mark.value === null ? "changed" : count(mark.value)}`;
  if (mark.kind === "waiting") return `workers wait for ${mark.name}`;
  return `${mark.name} ${mark.kind.split(" ").at(-1)}`;
}

export const glyph = (mark) => (isGap(mark) ? "▨" : mark.kind === "waiting" ? "◷" : mark.kind.endsWith("came") ? "▲" : mark.kind.endsWith("went") ? "▼" : "◆");

const key = (mark) => `${mark.at} ${mark.kind} ${mark.name}`;

export class Marks {
  #marks = new Map();
  #shown = null;

  clear() {
    this.#marks.clear();
  }

  keep(marks, now) {
    for (const mark of marks) this.#marks.set(key(mark), mark);
    const begin = now - KEPT;
    const kept = [...this.#marks.values()].filter((mark) => (mark.until ?? mark.at) >= begin);
    this.#marks = new Map(kept.sort((a, b) => a.at - b.at).slice(-MOST).map((mark) => [key(mark), mark]));
  }

  within({ begin, end }) {
    return [...this.#marks.values()].filter((mark) => mark.at <= end && (mark.until ?? mark.at) >= begin);
  }

  list(window) {
    const marks = this.within(window).reverse();
    const shown = marks.map((mark) => `${key(mark)} ${mark.until}`).join("\n");
    if (shown === this.#shown) return;
    this.#shown = shown;
    const [latest] = marks;
    show("latest-change", !latest ? "No changes in this time" : `${count(marks.length)} ${marks.length === 1 ? "change" : "changes"}, the latest at ${clock(latest.at)}: ${text(latest)}`);
    element("changes").classList.toggle("none", !latest);
    if (!latest) element("changes").open = false;
    const byKey = new Map(marks.map((mark) => [key(mark), mark]));
    const rows = arrange(element("change-list"), [...byKey.keys()], () =>
      make("li", {}, make("time"), make("span", { class: "glyph", "aria-hidden": "true" }), make("span")),
    );
    rows.forEach((row, index) => {
      const mark = marks[index];
      const [time, sign, words] = row.children;
      row.dataset.sign = isGap(mark) ? "gap" : mark.kind.split(" ").at(-1);
      time.dateTime = new Date(mark.at * 1000).toISOString();
      setText(time, clock(mark.at));
      setText(sign, glyph(mark));
      setText(words, text(mark));
    });
  }
}
