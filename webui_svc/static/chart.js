// The graph, in the colours of the page.

import { mark, speed } from "./format.js";
import { top } from "./scale.js";

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const minute = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const MINUTES = [60, 120, 300, 600]; // seconds between two marks of the x axis

export async function openChart(place, read) {
  const { default: UPlot } = await import("./vendor/uplot/uPlot.esm.js");
  let colours = pageColours();
  let yTop = 1;
  let range = [0, 1];

  const axis = {
    stroke: () => colours.quiet,
    font: colours.font,
    grid: { stroke: () => colours.grid, width: 1 },
    ticks: { show: false },
  };
  const plot = new UPlot(
    {
      ...size(place),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
      scales: { x: { range: () => range }, y: { range: () => [0, yTop] } },
      axes: [
        { ...axis, space: 70, size: 32, incrs: MINUTES, values: (_, marks) => marks.map((at) => minute.format(at * 1000)) },
        { ...axis, space: 50, size: 64, values: (_, marks) => marks.map(mark) },
      ],
      padding: [10, 16, 0, 0],
      series: [
        {},
        {
          stroke: () => colours.line,
          fill: () => colours.fill,
          width: 2.5,
          points: { show: false },
        },
      ],
      hooks: {
        setCursor: [
          ({ cursor, data }) => {
            const known = cursor.idx !== null && data[1][cursor.idx] !== undefined;
            read(known ? `${clock.format(data[0][cursor.idx] * 1000)} · ${speed(data[1][cursor.idx])}` : "");
          },
        ],
      },
    },
    [[], []],
    place,
  );

  new ResizeObserver(() => plot.setSize(size(place))).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colours = pageColours();
    plot.redraw(false);
  });

  return {
    draw(series) {
      const columns = series.columns;
      const { begin, end } = series.window;
      range = [begin, end];
      yTop = top(columns[1].reduce((highest, value) => Math.max(highest, value), 0), yTop);
      plot.setData(columns);
    },
  };
}

const size = (place) => ({ width: Math.max(place.clientWidth, 100), height: Math.max(place.clientHeight, 100) });

function pageColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    line: colour("line"),
    fill: colour("fill"),
    grid: colour("grid"),
    quiet: colour("quiet"),
    font: `${Math.round(parseFloat(style.fontSize) * 0.8)}px system-ui, sans-serif`,
  };
}
