// What changed, and when: as lines and shades on the graph, and as a list for people who cannot see or point.

import { arrange, element, make, setText, show } from "./dom.js";
import { clock, count } from "./format.js";

const KEPT = 3600; // seconds
const MOST = 200;

export const isGap = (annotation) => annotation.kind === "gap";

export function text(annotation) {
  if (isGap(annotation)) return annotation.until ? `no reports until ${clock(annotation.until)}` : "no reports";
  if (annotation.kind === "batch size") return `${annotation.name} batch size ${annotation.value === null ? "changed" : count(annotation.value)}`;
  if (annotation.kind === "waiting") return `workers wait for ${annotation.name}`;
  return `${annotation.name} ${annotation.kind.split(" ").at(-1)}`;
}

export const glyph = (annotation) => (isGap(annotation) ? "▨" : annotation.kind === "waiting" ? "◷" : annotation.kind.endsWith("joined") ? "▲" : annotation.kind.endsWith("left") ? "▼" : "◆");

const key = (annotation) => `${annotation.at} ${annotation.kind} ${annotation.name}`;

export class Annotations {
  #annotations = new Map();
  #shown = null;

  clear() {
    this.#annotations.clear();
  }

  keep(annotations, now) {
    for (const annotation of annotations) this.#annotations.set(key(annotation), annotation);
    const begin = now - KEPT;
    const kept = [...this.#annotations.values()].filter((annotation) => (annotation.until ?? annotation.at) >= begin);
    this.#annotations = new Map(kept.sort((a, b) => a.at - b.at).slice(-MOST).map((annotation) => [key(annotation), annotation]));
  }

  get all() {
    return [...this.#annotations.values()];
  }

  within({ begin, end }) {
    return [...this.#annotations.values()].filter((annotation) => annotation.at <= end && (annotation.until ?? annotation.at) >= begin);
  }

  list(window) {
    const annotations = this.within(window).reverse();
    const shown = annotations.map((annotation) => `${key(annotation)} ${annotation.until}`).join("\n");
    if (shown === this.#shown) return;
    this.#shown = shown;
    const [latest] = annotations;
    show("latest-change", !latest ? "No changes in this time" : `${count(annotations.length)} ${annotations.length === 1 ? "change" : "changes"}, the latest at ${clock(latest.at)}: ${text(latest)}`);
    element("changes").classList.toggle("none", !latest);
    if (!latest) element("changes").open = false;
    const byKey = new Map(annotations.map((annotation) => [key(annotation), annotation]));
    const rows = arrange(element("change-list"), [...byKey.keys()], () =>
      make("li", {}, make("time"), make("span", { class: "glyph", "aria-hidden": "true" }), make("span")),
    );
    rows.forEach((row, index) => {
      const annotation = annotations[index];
      const [time, sign, words] = row.children;
      row.dataset.sign = isGap(annotation) ? "gap" : annotation.kind.split(" ").at(-1);
      time.dateTime = new Date(annotation.at * 1000).toISOString();
      setText(time, clock(annotation.at));
      setText(sign, glyph(annotation));
      setText(words, text(annotation));
    });
  }
}

const signColour = (annotation, colours) => (annotation.kind.endsWith("joined") ? colours.good : annotation.kind.endsWith("left") || annotation.kind === "waiting" ? colours.bad : colours.ink);

// Beneath the curve: the time without reports.
export function drawShades(plot, shades, colours) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colours.shade;
  for (const [begin, end] of shades) {
    const left = Math.max(plot.valToPos(begin, "x", true), bbox.left);
    const right = Math.min(plot.valToPos(end, "x", true), bbox.left + bbox.width);
    if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

// Above the curve. Labels stand over the plot, the newest first; where one would run into another there is its sign, and
// of those at one place all but the newest are counted. The list has them all.
export function drawLines(plot, annotations, colours) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const size = Math.round(colours.size * 0.72 * ratio);
  ctx.save();
  ctx.font = `${size}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.lineWidth = ratio;
  let free = Infinity;
  let here = Infinity;
  for (const annotation of [...annotations].reverse()) {
    const x = Math.round(plot.valToPos(annotation.at, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    if (!isGap(annotation)) {
      ctx.strokeStyle = signColour(annotation, colours);
      ctx.globalAlpha = 0.7;
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
    }
    if (x > here - size) continue;
    here = x;
    const also = annotations.filter((other) => other !== annotation && other.at <= annotation.at && plot.valToPos(other.at, "x", true) > x - size).length;
    const label = `${glyph(annotation)} ${text(annotation)}${also ? ` +${also}` : ""}`;
    const width = ctx.measureText(label).width;
    const left = Math.min(Math.max(x - size / 2, bbox.left), bbox.left + bbox.width - width);
    const sign = ctx.measureText(glyph(annotation)).width;
    ctx.fillStyle = signColour(annotation, colours);
    if (left + width < free - size / 2) {
      ctx.fillText(label, left, bbox.top - 4 * ratio);
      free = left;
    } else if (x + sign / 2 < free - 2 * ratio) {
      ctx.fillText(glyph(annotation), x - sign / 2, bbox.top - 4 * ratio);
      free = x - sign / 2;
    }
  }
  ctx.restore();
}
