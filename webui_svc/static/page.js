// Wires what arrives to what is shown.

import { showCoins } from "./coins.js";
import { connect } from "./connection.js";
import { element, show } from "./dom.js";
import { showFigures } from "./figures.js";
import { Graph } from "./graph.js";
import { LoadTests } from "./load-tests.js";
import { showStatus } from "./status.js";
import { System } from "./system.js";

const TICK = 1000; // ms; time goes on where nothing is heard

const graph = new Graph();
const system = new System(element("system"));
const loadTests = new LoadTests();
let connected = false;
let figures = null;

function showState() {
  showStatus(connected, figures);
  graph.stale = figures !== null && (!connected || !figures.redis);
  system.still = !connected || !figures?.redis;
}

function arrived(data) {
  figures = data;
  showFigures(data);
  showState();
  if (data.system) system.show(data.system);
  if (data.found) showCoins(data.found);
  loadTests.known(data.load_tests);
}

connect("events", {
  snapshot(data) {
    graph.restart(data);
    arrived(data);
  },
  update(data) {
    graph.arrived(data);
    arrived(data);
  },
  connected(yes) {
    connected = yes;
    showState();
  },
});

setInterval(() => {
  if (graph.stale && !document.hidden) graph.draw();
}, TICK);

try {
  await graph.open();
} catch (error) {
  console.error(error);
  element("chart").hidden = true;
  element("chart-note").hidden = false;
  show("chart-note", "The graph is missing: the chart library uPlot could not be loaded. It is fetched by npm when webui is built.");
}
