// The graph, in the colours of the page: one curve, areas stacked on each other, or a curve for each worker.

import UPlot from "../vendor/uplot/uPlot.esm.js";
import { look } from "./annotations.js";
import { onColourChange, pageColours, SERIES } from "./colours.js";
import { clock, minute, speed, tick } from "./format.js";
import { Top } from "./scale.js";

const MINUTES = [10, 20, 30, 60, 120, 300, 600, 900]; // seconds between two ticks of the x axis
const SETTLING = 3; // seconds after a change of pace, in which the curve still has some of the pace before

const size = (place) => ({ width: Math.max(place.clientWidth, 100), height: Math.max(place.clientHeight, 100) });

// Each area reaches from its upper edge down to that of the one before.
function stacked(columns) {
  const [times, ...parts] = columns;
  const sums = times.map(() => 0);
  return [times, ...parts.map((part) => part.map((value, index) => (value === null ? null : (sums[index] += value))))];
}

const highest = ([times, ...columns], begin = -Infinity, end = Infinity) => {
  let most = 0;
  times.forEach((second, index) => {
    if (second >= begin && second < end) for (const column of columns) most = Math.max(most, column[index] ?? 0);
  });
  return most;
};

// read: given the point under the cursor; resized: called after the plot has a new size.
export function openChart(place, read, resized) {
  const top = new Top();
  let colours = pageColours();
  let plot = null;
  let form = ""; // what the plot was built for
  let letters = 0; // their size when it was built: all lengths are of it
  let epoch = -Infinity; // when the pace changed last
  let shown = { columns: [[], []], window: { begin: 0, end: 1 }, annotations: [], shades: [], kind: "total", log: false, predicted: null, epochs: [] };
  let columns = shown.columns;
  let yTop = 1;

  // A label stands under the middle of its tick, and the first and the last one may have no room there.
  const fits = (self, at, step) => {
    const half = colours.size * (step < 60 ? 2.7 : 1.6);
    const x = self.valToPos(at, "x");
    return x > half && x < self.bbox.width / devicePixelRatio - half + colours.size * 1.6;
  };
  const curve = (stroke, fill) => ({ stroke, fill, width: colours.size * 0.16, points: { show: false } });
  const area = (index) => ({ stroke: () => colours.card, fill: () => colours.series[index], width: 1, points: { show: false } });

  const kinds = {
    total: () => [curve(() => colours.line, () => colours.fill)],
    stack: () => Array.from({ length: SERIES + 1 }, (_, index) => area(index)),
    lines: () => Array.from({ length: SERIES + 1 }, (_, index) => curve(() => colours.series[index])),
  };

  // 0, 1, 10, 100, and so on, as many as there is room for.
  const powers = (self) => {
    const all = [0];
    for (let power = 1; power <= yTop; power *= 10) all.push(power);
    const every = Math.ceil((all.length * colours.size * 1.6) / Math.max(1, self.bbox.height / devicePixelRatio));
    return all.filter((_, index) => (all.length - 1 - index) % every === 0);
  };

  const build = () => {
    plot?.destroy();
    letters = colours.size;
    const { kind, log } = shown;
    const axis = { stroke: () => colours.quiet, font: colours.font, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false } };
    plot = new UPlot(
      {
        ...size(place),
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 8, show: kind !== "stack" } },
        scales: { x: { range: () => [shown.window.begin, shown.window.end] }, y: { ...(log && { distr: 4, asinh: 1 }), range: () => [0, yTop] } },
        axes: [
          {
            ...axis,
            space: colours.size * 6.5,
            size: colours.size * 1.7,
            incrs: MINUTES,
            values: (self, splits, _, __, step) => splits.map((at) => (fits(self, at, step) ? (step < 60 ? clock(at) : minute(at)) : "")),
          },
          { ...axis, space: colours.size * 2.4, size: colours.size * 3.8, values: (_, splits) => splits.map(tick), ...(log && { splits: powers, filter: (_, splits) => splits }) },
        ],
        padding: [colours.size * 0.8, colours.size * 1.6, 0, 0],
        series: [{}, ...kinds[kind]()],
        bands: kind === "stack" ? Array.from({ length: SERIES }, (_, index) => ({ series: [index + 2, index + 1] })) : [],
        hooks: {
          drawClear: [(self) => drawShades(self, shown.shades, colours)],
          draw: [(self) => drawLines(self, shown.annotations, colours), (self) => drawEpochs(self, shown.epochs, columns, yTop, colours), (self) => drawPrediction(self, shown.predicted, yTop, colours)],
          setCursor: [({ cursor }) => read(cursor.idx ?? null)],
        },
      },
      columns,
      place,
    );
  };

  new ResizeObserver(() => {
    colours = pageColours();
    if (!plot) return;
    if (colours.size === letters) plot.setSize(size(place));
    else build();
    resized();
  }).observe(place);
  onColourChange(() => {
    colours = pageColours();
    plot?.redraw(false);
  });

  return {
    // columns: seconds, then hashes a second, of each worker if it is not one curve; epochs: when the pace changed.
    draw(next) {
      shown = next;
      columns = next.kind === "stack" ? stacked(next.columns) : next.columns;
      const now = `${next.kind} ${next.log} ${next.view}`;
      const latest = next.epochs.at(-1) ?? -Infinity;
      if (now !== form || latest > epoch) top.reset();
      epoch = latest;
      const most = next.log ? highest(columns) : highest(columns, latest + SETTLING) || highest(columns, latest);
      yTop = top.fit(Math.max(most, next.predicted ?? 0), next.window.end);
      if (next.log) yTop = Math.max(10, yTop);
      if (now !== form) {
        form = now;
        build();
      } else {
        plot.setData(columns);
      }
    },
    // Where the curve is, in pixels of the page.
    get area() {
      if (!plot) return { left: 0, width: 0 };
      return { left: plot.bbox.left / devicePixelRatio, width: plot.bbox.width / devicePixelRatio };
    },
  };
}

// Beneath the curve: the time without reports.
function drawShades(plot, shades, colours) {
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

// Above the curve: what changed the system. The words are on the lane.
function drawLines(plot, annotations, colours) {
  const { ctx, bbox } = plot;
  ctx.save();
  const unit = (colours.size / 16) * devicePixelRatio;
  ctx.lineWidth = unit;
  ctx.globalAlpha = 0.6;
  for (const annotation of annotations) {
    const x = Math.round(plot.valToPos(annotation.at, "x", true)) + 0.5;
    if (!look(annotation).line || x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colours[look(annotation).colour];
    ctx.setLineDash(annotation.kind === "pace" ? [] : [3 * unit, 3 * unit]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

// How fast it was before the pace changed, where that is above the axis.
function drawEpochs(plot, epochs, columns, yTop, colours) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `${Math.round(colours.size * 0.8 * devicePixelRatio)}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  ctx.textBaseline = "top";
  ctx.fillStyle = colours.ink;
  epochs.forEach((end, index) => {
    const most = highest(columns, epochs[index - 1], end);
    const right = Math.min(plot.valToPos(end, "x", true), bbox.left + bbox.width) - 6 * devicePixelRatio;
    const label = `↑ ${speed(most)}`;
    const width = ctx.measureText(label).width;
    if (most <= yTop || right - width < bbox.left) return;
    ctx.fillStyle = colours.card;
    ctx.fillRect(right - width - 4 * devicePixelRatio, bbox.top, width + 8 * devicePixelRatio, colours.size * 1.3 * devicePixelRatio);
    ctx.fillStyle = colours.ink;
    ctx.fillText(label, right, bbox.top + 3 * devicePixelRatio);
  });
  ctx.restore();
}

function drawPrediction(plot, predicted, yTop, colours) {
  if (predicted === null || predicted > yTop) return;
  const { ctx, bbox } = plot;
  const y = plot.valToPos(predicted, "y", true);
  const label = `predicted ${speed(predicted)}`;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colours.late;
  const unit = (colours.size / 16) * devicePixelRatio;
  ctx.lineWidth = 2 * unit;
  ctx.setLineDash([9 * unit, 6 * unit]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.font = `600 ${Math.round(colours.size * 0.8 * devicePixelRatio)}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = y - bbox.top > colours.size * 1.2 * devicePixelRatio ? "bottom" : "top";
  ctx.fillText(label, bbox.left + 6 * devicePixelRatio, y + (ctx.textBaseline === "top" ? 4 : -4) * devicePixelRatio);
  ctx.restore();
}
