// Which colour is which worker, and how fast it is. A name keeps its colour while the page is open.

import { arrange, element, make, setText } from "./dom.js";
import { SERIES } from "./colours.js";
import { speed } from "./format.js";

export class Legend {
  #slots = []; // the name that has each colour

  set shown(yes) {
    element("workers-legend").hidden = !yes;
  }

  // The columns of the graph: seconds, then for each colour the hashes of its worker, and those of all others.
  columns(answer) {
    const columns = Array.from({ length: SERIES + 2 }, () => []);
    if (!answer) return columns;
    this.#assign(answer.workers);
    const sources = this.#slots.map((name) => answer.workers.indexOf(name));
    for (const [second, ...values] of answer.points) {
      const known = values.some((value) => value !== null); // a time without any worker is a gap
      columns[0].push(second);
      sources.forEach((source, slot) => columns[slot + 1].push(!known ? null : source < 0 ? 0 : values[source]));
      columns[SERIES + 1].push(values.at(-1));
    }
    return columns;
  }

  #assign(names) {
    this.#slots = Array.from({ length: SERIES }, (_, slot) => (names.includes(this.#slots[slot]) ? this.#slots[slot] : null));
    for (const name of names) if (!this.#slots.includes(name)) this.#slots[this.#slots.indexOf(null)] = name;
  }

  // As of one of the points, the last one by itself.
  show(answer, columns, index) {
    if (!answer) return;
    const at = index ?? columns[0].length - 1;
    const entry = (name, slot) => ({ name, slot, value: columns[slot + 1][at] ?? null });
    const all = answer.workers.map((name) => entry(name, this.#slots.indexOf(name)));
    const others = columns[SERIES + 1].some((value) => value > 0) ? [entry("all others", SERIES)] : [];
    const gone = all.filter(({ name }) => answer.gone.includes(name));
    this.#list("legend", [...all.filter((each) => !gone.includes(each)), ...others]);
    this.#list("gone-legend", gone);
    element("gone-workers").hidden = !gone.length;
    setText(element("gone-workers").firstElementChild, `${gone.length} gone`);
  }

  #list(id, entries) {
    const rows = arrange(element(id), entries.map(({ name }) => name), () =>
      make("li", {}, make("span", { class: "swatch", "aria-hidden": "true" }), make("span"), make("span", { class: "value" })),
    );
    rows.forEach((row, position) => {
      const { name, slot, value } = entries[position];
      row.firstChild.dataset.series = slot + 1;
      setText(row.children[1], name);
      setText(row.lastChild, value === null ? "–" : speed(value));
    });
  }
}
