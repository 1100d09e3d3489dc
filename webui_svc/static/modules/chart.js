// The graph, in the colours of the page: one curve, or areas stacked on each other.

import UPlot from "../vendor/uplot/uPlot.esm.js";
import { drawLines, drawShades } from "./annotations.js";
import { onColourChange, pageColours, SERIES } from "./colours.js";
import { clock, minute, tick } from "./format.js";
import { top } from "./scale.js";

const MINUTES = [10, 20, 30, 60, 120, 300, 600, 900]; // seconds between two ticks of the x axis

const size = (place) => ({ width: Math.max(place.clientWidth, 100), height: Math.max(place.clientHeight, 100) });

// Each area reaches from its upper edge down to that of the one before.
function stacked(columns) {
  const [times, ...parts] = columns;
  const sums = times.map(() => 0);
  return [times, ...parts.map((part) => part.map((value, index) => (value === null ? null : (sums[index] += value))))];
}

export function openChart(place, read) {
  let colours = pageColours();
  let plot = null;
  let areas = null;
  let shown = { columns: [[], []], window: { begin: 0, end: 1 }, annotations: [], shades: [] };
  let yTop = 1;

  // A label stands under the middle of its tick, and the first and the last one may have no room there.
  const fits = (self, at, step) => {
    const half = colours.size * (step < 60 ? 2.7 : 1.6);
    const x = self.valToPos(at, "x");
    return x > half && x < self.bbox.width / devicePixelRatio - half + colours.size * 1.6;
  };
  const curve = { stroke: () => colours.line, fill: () => colours.fill, width: 2.5, points: { show: false } };
  const area = (index) => ({
    stroke: () => colours.card,
    fill: () => colours.series[index],
    width: 1,
    points: { show: false },
  });

  const build = () => {
    plot?.destroy();
    const axis = {
      stroke: () => colours.quiet,
      font: colours.font,
      grid: { stroke: () => colours.grid, width: 1 },
      ticks: { show: false },
    };
    const count = SERIES + 1;
    plot = new UPlot(
      {
        ...size(place),
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 8, show: !areas } },
        scales: { x: { range: () => [shown.window.begin, shown.window.end] }, y: { range: () => [0, yTop] } },
        axes: [
          {
            ...axis,
            space: colours.size * 6.5,
            size: colours.size * 1.9,
            incrs: MINUTES,
            values: (self, splits, _, __, step) => splits.map((at) => (fits(self, at, step) ? (step < 60 ? clock(at) : minute(at)) : "")),
          },
          { ...axis, space: colours.size * 3, size: colours.size * 3.8, values: (_, splits) => splits.map(tick) },
        ],
        padding: [colours.size * 1.5, colours.size * 1.6, 0, 0],
        series: [{}, ...(areas ? Array.from({ length: count }, (_, index) => area(index)) : [curve])],
        bands: areas ? Array.from({ length: count - 1 }, (_, index) => ({ series: [index + 2, index + 1] })) : [],
        hooks: {
          drawClear: [(self) => drawShades(self, shown.shades, colours)],
          draw: [(self) => drawLines(self, shown.annotations, colours)],
          setCursor: [({ cursor }) => read(cursor.idx ?? null)],
        },
      },
      areas ? stacked(shown.columns) : shown.columns,
      place,
    );
  };

  new ResizeObserver(() => plot?.setSize(size(place))).observe(place);
  onColourChange(() => {
    colours = pageColours();
    plot?.redraw(false);
  });

  return {
    // columns: seconds, then hashes a second, of each worker when they are stacked.
    draw(next, stack) {
      shown = next;
      const columns = stack ? stacked(next.columns) : next.columns;
      yTop = top(columns.at(-1).reduce((highest, value) => Math.max(highest, value ?? 0), 0), stack === areas ? yTop : 0);
      if (stack !== areas) {
        areas = stack;
        build();
      } else {
        plot.setData(columns);
      }
    },
  };
}
