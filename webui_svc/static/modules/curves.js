// Curves over the batch size, both axes by their logarithm.

import UPlot from "../vendor/uplot/uPlot.esm.js";
import { onColourChange, pageColours, SERIES } from "./colours.js";
import { count } from "./format.js";

const size = (place) => ({ width: Math.max(place.clientWidth, 100), height: Math.max(place.clientHeight, 100) });

// The least and the most that is shown, both powers of the base.
function bounds(columns, base) {
  const values = columns.flat().filter((value) => value > 0);
  if (!values.length) return [1, base];
  const power = (value, round) => base ** round(Math.log(value) / Math.log(base) + (round === Math.floor ? 1e-9 : -1e-9));
  const [low, high] = [power(Math.min(...values), Math.floor), power(Math.max(...values), Math.ceil)];
  return [low, low === high ? high * base : high];
}

// lines: [{ colour (1 to 8), dashed, points: [[batch size, value]] }]; name makes the marks of the y axis.
export function drawCurves(place, lines, name) {
  let colours = pageColours();
  const sizes = [...new Set(lines.flatMap((line) => line.points.map(([batch]) => batch)))].sort((a, b) => a - b);
  const columns = lines.map((line) => {
    const values = new Map(line.points);
    return sizes.map((batch) => (values.get(batch) > 0 ? values.get(batch) : null));
  });
  const x = sizes.length > 1 ? [sizes[0] / 1.15, sizes.at(-1) * 1.15] : [sizes[0] / 2, sizes[0] * 2];
  const y = bounds(columns, 10);
  const axis = { stroke: () => colours.quiet, font: colours.font, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false } };
  const tens = Array.from({ length: Math.round(Math.log10(y[1] / y[0])) + 1 }, (_, index) => y[0] * 10 ** index);
  const every = (self) => Math.max(1, Math.ceil(sizes.length / Math.max(2, Math.floor(self.width / (colours.size * 4.5)))));
  const plot = new UPlot(
    {
      ...size(place),
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, distr: 3, log: 2, range: () => x }, y: { distr: 3, log: 10, range: () => y } },
      axes: [
        {
          ...axis,
          size: colours.size * 1.9,
          splits: (self) => sizes.filter((_, index) => (sizes.length - 1 - index) % every(self) === 0),
          filter: (_, splits) => splits,
          values: (_, splits) => splits.map(count),
        },
        { ...axis, size: colours.size * 4, splits: () => tens, filter: (_, splits) => splits, values: (_, splits) => splits.map(name) },
      ],
      padding: [colours.size * 0.6, colours.size * 1.2, 0, 0],
      series: [
        {},
        ...lines.map((line) => ({
          stroke: () => colours.series[(line.colour - 1) % SERIES],
          width: 2.5,
          dash: line.dashed ? [6, 5] : undefined,
          spanGaps: true,
          points: { show: true, size: 6, fill: () => colours.card },
        })),
      ],
    },
    [sizes, ...columns],
    place,
  );
  const observer = new ResizeObserver(() => plot.setSize(size(place)));
  observer.observe(place);
  const forget = onColourChange(() => {
    colours = pageColours();
    plot.redraw(false);
  });
  return () => {
    observer.disconnect();
    forget();
    plot.destroy();
  };
}
