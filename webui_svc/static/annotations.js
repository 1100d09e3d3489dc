// Lines and shades that are drawn on the graph beside its curve.

import { glyph, isGap, text } from "./marks.js";

const signColour = (mark, colours) => (mark.kind.endsWith("came") ? colours.good : mark.kind.endsWith("went") || mark.kind === "waiting" ? colours.bad : colours.ink);

// Beneath the curve: the time in which nobody could be heard.
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
// of marks at one place all but the newest are counted. The list has them all.
export function drawMarks(plot, marks, colours) {
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
  for (const mark of [...marks].reverse()) {
    const x = Math.round(plot.valToPos(mark.at, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    if (!isGap(mark)) {
      ctx.strokeStyle = signColour(mark, colours);
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
    const also = marks.filter((other) => other !== mark && other.at <= mark.at && plot.valToPos(other.at, "x", true) > x - size).length;
    const label = `${glyph(mark)} ${text(mark)}${also ? ` +${also}` : ""}`;
    const width = ctx.measureText(label).width;
    const left = Math.min(Math.max(x - size / 2, bbox.left), bbox.left + bbox.width - width);
    const sign = ctx.measureText(glyph(mark)).width;
    ctx.fillStyle = signColour(mark, colours);
    if (left + width < free - size / 2) {
      ctx.fillText(label, left, bbox.top - 4 * ratio);
      free = left;
    } else if (x + sign / 2 < free - 2 * ratio) {
      ctx.fillText(glyph(mark), x - sign / 2, bbox.top - 4 * ratio);
      free = x - sign / 2;
    }
  }
  ctx.restore();
}
