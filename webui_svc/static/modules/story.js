// What changed: on a lane under the graph, beneath its moment, and as a list for people who cannot see or point.

import { GROUPS, look, text } from "./annotations.js";
import { arrange, element, make, setText, show } from "./dom.js";
import { clock, count } from "./format.js";
import { TERMS } from "./terms.js";

const ROWS = 2;
const ROW = 1.45; // em

export class Story {
  #shown = null;
  #hidden = new Set(); // kinds that are not shown
  #ruler = document.createElement("canvas").getContext("2d");

  constructor(changed) {
    const chips = Object.entries(GROUPS).map(([name, kinds]) => {
      const box = make("input", { type: "checkbox", checked: "" });
      box.addEventListener("change", () => {
        for (const kind of kinds) box.checked ? this.#hidden.delete(kind) : this.#hidden.add(kind);
        changed();
      });
      const words = kinds.filter((kind) => TERMS[kind]).map((kind) => `${kind}: ${TERMS[kind]}`);
      return make("label", { class: "chip", title: words.join("\n") }, box, make("span", {}, name));
    });
    element("kinds").append(...chips);
  }

  // Those of the annotations that are chosen.
  chosen(annotations) {
    return annotations.filter(({ kind }) => !this.#hidden.has(kind));
  }

  // any: whether there is something to choose from; area: where the graph is, { left, width } in pixels.
  show(annotations, any, window, area) {
    element("kinds").hidden = !any;
    this.#showLane(annotations, window, area);
    const shown = annotations.map((each) => `${each.id} ${each.until} ${each.count}`).join("\n");
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#showList([...annotations].reverse());
  }

  // The newest first, each with its words if they fit, otherwise with its shape; of those at one place the newest.
  #showLane(annotations, window, area) {
    const size = parseFloat(getComputedStyle(element("lane")).fontSize);
    this.#ruler.font = `${size}px system-ui, sans-serif`;
    const scale = area.width / Math.max(1, window.end - window.begin);
    const free = Array(ROWS).fill(area.left + area.width);
    let here = Infinity;
    const items = [];
    for (const annotation of [...annotations].reverse()) {
      const x = area.left + Math.max(0, annotation.at - window.begin) * scale;
      const length = Math.max(0, Math.min(annotation.until, window.end) - Math.max(annotation.at, window.begin)) * scale;
      const words = text(annotation);
      const wide = size * 2 + this.#ruler.measureText(words).width;
      const left = Math.min(x, area.left + area.width - wide);
      const row = free.findIndex((right) => left + wide <= right && left >= 0);
      const narrow = row < 0 && x < here - size * 1.2 ? free.findIndex((right) => x + size * 1.2 <= right) : -1;
      items.push({ annotation, x, length, left, words, row: row >= 0 ? row : narrow, full: row >= 0 });
      if (row >= 0 || narrow >= 0) free[row >= 0 ? row : narrow] = row >= 0 ? left : x;
      here = Math.min(here, x);
    }
    const nodes = arrange(element("lane"), items.map(({ annotation }) => annotation.id), () => make("p", {}, make("i"), make("span", { class: "glyph" }), make("span")));
    nodes.forEach((node, index) => {
      const { annotation, x, length, left, words, row, full } = items[index];
      const [bar, glyph, label] = node.children;
      node.dataset.colour = look(annotation).colour;
      node.title = `${clock(annotation.at)} ${words}`;
      bar.style.left = `${x}px`;
      bar.style.width = `${Math.max(3, length)}px`;
      glyph.hidden = label.hidden = row < 0;
      label.hidden ||= !full;
      setText(glyph, look(annotation).glyph);
      setText(label, words);
      glyph.style.left = `${full ? left : x}px`;
      label.style.left = `${left + size * 1.25}px`;
      glyph.style.top = label.style.top = `${0.45 + row * ROW}em`;
    });
  }

  #showList(annotations) {
    const [latest] = annotations;
    const number = `${count(annotations.length)} ${annotations.length === 1 ? "change" : "changes"}`;
    show("latest-change", latest ? `${number}, the latest at ${clock(latest.at)}: ${text(latest)}` : "No changes in this time");
    element("changes").classList.toggle("none", !latest);
    const rows = arrange(element("change-list"), annotations.map(({ id }) => id), () =>
      make("li", {}, make("time"), make("span", { class: "glyph", "aria-hidden": "true" }), make("span")),
    );
    rows.forEach((row, index) => {
      const annotation = annotations[index];
      const [time, sign, words] = row.children;
      row.dataset.colour = look(annotation).colour;
      if (TERMS[annotation.kind]) row.title = TERMS[annotation.kind];
      time.dateTime = new Date(annotation.at * 1000).toISOString();
      setText(time, clock(annotation.at));
      setText(sign, look(annotation).glyph);
      setText(words, text(annotation));
    });
  }
}
