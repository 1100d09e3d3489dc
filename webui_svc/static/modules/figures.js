// The large figure, and the counters beside it.

import { show } from "./dom.js";
import { count, range, speed } from "./format.js";

export function showFigures(figures) {
  show("hashes", count(figures.hashes));
  show("coins", count(figures.coins));
  if (!figures.redis) return; // the rest is not known now: the last that was known stays, and is said to be old
  show("speed", figures.speed === null ? "–" : speed(figures.speed));
  show("workers", count(figures.workers));
  show("pace", figures.paces.join(" and ") || "–");
  show("batch-size", figures.batch_size ? range(...figures.batch_size) : "–");
}
