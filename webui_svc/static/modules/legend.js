// Which colour is which worker, and how fast it is.

import { arrange, element, make, setText } from "./dom.js";
import { SERIES } from "./colours.js";
import { speed } from "./format.js";

export class Legend {
  set shown(yes) {
    element("legend").hidden = !yes;
  }

  // As of one of the points, the last one by itself.
  show(answer, index) {
    if (!answer) return;
    const point = answer.points[index ?? answer.points.length - 1];
    const others = answer.points.some((each) => each.at(-1) > 0);
    const names = [...answer.workers, ...(others ? ["others"] : [])];
    const rows = arrange(element("legend"), names, () =>
      make("li", {}, make("span", { class: "swatch", "aria-hidden": "true" }), make("span"), make("span", { class: "value" })),
    );
    rows.forEach((row, position) => {
      const [swatch, name, value] = row.children;
      const isOthers = position === answer.workers.length;
      swatch.dataset.series = isOthers ? SERIES + 1 : position + 1;
      setText(name, isOthers ? "all others" : names[position].replace(/-[0-9a-f]{8}$/, ""));
      setText(value, point ? speed(isOthers ? point.at(-1) : point[position + 1]) : "–");
    });
  }
}
