// Wires what arrives to what is shown.

import { showCoins } from "./coins.js";
import { connect } from "./connection.js";
import { element, show } from "./dom.js";
import { showFigures } from "./figures.js";
import { Graph } from "./graph.js";
import { LoadTests } from "./load-tests.js";
import { showStatus } from "./status.js";
import { Topology } from "./topology.js";

const TICK = 1000; // ms; time goes on without news

const graph = new Graph();
const topology = new Topology(element("topology"));
const loadTests = new LoadTests();
let connected = false;
let figures = null;

function showState() {
  showStatus(connected, figures);
  graph.stale = figures !== null && (!connected || !figures.redis);
  topology.still = !connected || !figures?.redis;
}

function arrived(data) {
  figures = data;
  showFigures(data);
  showState();
  if (data.topology) topology.show(data.topology);
  if (data.coin_statistics) showCoins(data.coin_statistics);
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
