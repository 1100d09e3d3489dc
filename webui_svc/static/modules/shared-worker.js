// One stream of events for all tabs of a browser, which opens at most six connections to a host over HTTP/1.1. It runs
// as a shared worker: it keeps what a new tab needs, and passes on what arrives.

import { Annotations } from "./annotations.js";
import { connect } from "./connection.js";
import { Series } from "./series.js";

const ports = new Set();
const series = new Series();
const annotations = new Annotations();
let figures = null; // all but points and annotations
let connected = null; // null until there was a connection, or an attempt at one

const post = (message) => ports.forEach((port) => port.postMessage(message));

function keep(data) {
  const { points, annotations: changes, ...rest } = data;
  figures = { ...figures, ...rest };
  series.keep(points);
  annotations.keep(changes ?? [], data.now);
}

self.addEventListener("connect", ({ ports: [port] }) => {
  ports.add(port);
  port.addEventListener("message", ({ data }) => (data === "leave" ? ports.delete(port) : port.postMessage({ kind: "pong" })));
  port.start();
  port.postMessage({ kind: "pong" });
  if (connected !== null) port.postMessage({ kind: "connected", data: connected });
  if (figures) port.postMessage({ kind: "snapshot", data: { ...figures, points: series.points, annotations: annotations.all } });
});

connect(new URL("../events", location), {
  snapshot(data) {
    figures = null;
    series.clear();
    annotations.clear();
    keep(data);
    post({ kind: "snapshot", data });
  },
  update(data) {
    keep(data);
    post({ kind: "update", data });
  },
  connected(yes) {
    connected = yes;
    post({ kind: "connected", data: yes });
  },
});
