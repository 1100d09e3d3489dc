// Wires what arrives to what is shown.

import { openChart } from "./chart.js";
import { connect } from "./connection.js";
import { count, speed } from "./format.js";
import { Series } from "./series.js";

const element = (id) => document.getElementById(id);
const show = (id, text) => {
  const node = element(id);
  if (node.textContent !== text) node.textContent = text;
};

const series = new Series();
let chart = null;
let connected = false;
let figures = null;

function showStatus() {
  const [state, text] = !connected
    ? ["lost", figures ? "Connection lost, trying again" : "No connection yet, trying again"]
    : !figures
      ? ["waiting", "Connecting"]
      : !figures.redis
        ? ["lost", "Redis is away, showing what was last known"]
        : figures.workers === 0
          ? ["waiting", "No worker reports"]
          : ["live", "Live"];
  element("status").dataset.state = state;
  show("status", text);
  document.querySelector("main").classList.toggle("stale", state === "lost");
}

function showFigures() {
  show("hashes", count(figures.hashes));
  show("coins", count(figures.coins));
  if (!figures.redis) return; // the rest is not known now: the last that was known stays, and is said to be old
  show("speed", figures.speed === null ? "–" : speed(figures.speed));
  show("workers", count(figures.workers));
  show("pace", figures.paces.join(", ") || "–");
  show("batch-size", figures.batch_sizes.map(count).join(", ") || "–");
}

function arrived(data) {
  figures = data;
  series.keep(data.points);
  showFigures();
  showStatus();
  chart?.draw(series);
}

connect("events", {
  snapshot(data) {
    series.clear(data.shown_seconds);
    arrived(data);
  },
  update: arrived,
  connected(yes) {
    connected = yes;
    showStatus();
  },
});

try {
  chart = await openChart(element("chart"), (text) => show("reading", text));
  chart.draw(series);
} catch (error) {
  console.error(error);
  element("chart").hidden = true;
  element("chart-note").hidden = false;
  show("chart-note", "The graph is missing: the chart library uPlot could not be loaded. It is fetched by npm when webui is built.");
}
