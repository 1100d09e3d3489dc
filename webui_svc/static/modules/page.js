// Wires what arrives to what is shown.

import UPlot from "../vendor/uplot/uPlot.esm.js";
import { showCoins } from "./coins.js";
import { follow } from "./connection.js";
import { element, show } from "./dom.js";
import { showFigures } from "./figures.js";
import { Graph } from "./graph.js";
import { LoadTests } from "./load-tests.js";
import { showStatus, showTitle } from "./status.js";
import { explain } from "./terms.js";
import { Topology } from "./topology.js";
import { Views } from "./views.js";

const TICK = 1000; // ms; time goes on without news

const NO_LESSON = { limit: null, predicted: null, sentence: "" };

const graph = new Graph();
const topology = new Topology(element("topology"));
const loadTests = new LoadTests();
let connected = false;
let figures = null;
let shown = {};
const views = new Views(() => {
  shown = {};
  requestAnimationFrame(showAll); // after the layout has changed
});

function showState() {
  showStatus(connected, figures);
  topology.still = !connected || !figures?.redis;
}

// A hidden tab keeps what arrives, and shows it when it is seen again; its title is seen all the time.
function showAll() {
  if (!figures) return;
  showTitle(connected, figures);
  if (document.hidden) return;
  showFigures(figures);
  showState();
  const lesson = views.why ? (figures.lesson ?? NO_LESSON) : null;
  graph.show(!connected || !figures.redis, lesson?.predicted ?? null);
  if (figures.topology !== shown.topology || figures.lesson !== shown.lesson) topology.show(figures.topology, lesson);
  if (figures.coin_statistics !== shown.coin_statistics) showCoins(figures.coin_statistics);
  loadTests.known(figures.load_tests);
  shown = figures;
}

follow("events", document.body.dataset.sharedWorker, {
  snapshot(data) {
    figures = data;
    graph.restart(data);
    showAll();
  },
  update(data) {
    figures = { ...figures, ...data };
    graph.keep(data);
    showAll();
  },
  connected(yes) {
    connected = yes;
    showState();
    showAll();
  },
});
document.addEventListener("visibilitychange", showAll);

setInterval(() => {
  if (figures && !(connected && figures.redis)) showAll();
}, TICK);

if (UPlot) {
  graph.open();
} else {
  element("chart").hidden = true;
  element("chart-note").hidden = false;
  show("chart-note", "The graph is missing: the chart library uPlot could not be loaded. A build copies it from a Python package.");
}
explain();
document.documentElement.dataset.started = "";
