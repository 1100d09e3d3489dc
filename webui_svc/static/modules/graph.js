// What the graph shows: which time, of whom, and how that is kept up to date.

import { openChart } from "./chart.js";
import { SERIES } from "./colours.js";
import { element, show } from "./dom.js";
import { clock, speed } from "./format.js";
import * as history from "./history.js";
import { Legend } from "./legend.js";
import { Annotations, text } from "./annotations.js";
import { Series } from "./series.js";

const BY_SECOND = 900; // seconds; further back the server knows ten at a time
const HOUR_EVERY = 10_000; // ms between two looks at the hour
const WORKERS_EVERY = 2_000; // ms

export class Graph {
  annotations = new Annotations();
  #series = new Series();
  #legend = new Legend();
  #chart = null;
  #seconds = 300;
  #by = "total";
  #fetched = null; // the hour, or workers: what the server said last
  #known = 0; // seconds that the series holds from the beginning
  #request = 0; // the number of the latest request, whose answer counts
  #timer = null;
  #stale = false;
  #ahead = 0; // seconds that the server's clock is ahead of this one
  #cursor = null;

  open() {
    const form = element("view");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.#choose());
    document.addEventListener("visibilitychange", () => this.#follow());
    this.#chart = openChart(element("chart"), (index) => {
      this.#cursor = index;
      this.#read();
    });
    this.#choose(); // a browser keeps what was chosen before a reload
  }

  restart(data) {
    this.#series.clear();
    this.#known = data.shown_seconds;
    this.annotations.clear();
    this.keep(data);
    this.#follow();
  }

  keep(data) {
    this.#ahead = data.now - Date.now() / 1000;
    this.#series.keep(data.points);
    this.annotations.keep(data.annotations ?? [], data.now);
  }

  get stale() {
    return this.#stale;
  }

  // Whether there is no news now.
  set stale(yes) {
    if (yes === this.#stale) return;
    this.#stale = yes;
    this.draw();
  }

  draw() {
    if (!this.#chart) return;
    const window = this.#window;
    this.annotations.list(window);
    const annotations = this.annotations.within(window);
    const last = this.#last;
    const shades = annotations.filter((each) => each.kind === "gap").map((each) => [each.at, each.until ?? window.end]);
    if (this.#stale && last !== null) shades.push([last, window.end]);
    this.#chart.draw({ columns: this.#columns(window), window, annotations, shades }, this.#by === "worker");
    this.#read();
  }

  get #fetching() {
    return this.#by === "worker" || this.#seconds > BY_SECOND;
  }

  get #last() {
    return this.#fetching ? (this.#fetched?.points.at(-1)?.[0] ?? null) : this.#series.end;
  }

  // It ends with the last second known, so the curve never tears off at the right, but goes on without news.
  get #window() {
    const now = Math.floor(Date.now() / 1000 + this.#ahead);
    const end = this.#stale ? Math.max(now, this.#last ?? 0) : (this.#last ?? now);
    return { begin: end - this.#seconds + 1, end };
  }

  #columns({ begin }) {
    const width = this.#by === "worker" ? SERIES + 1 : 1;
    if (!this.#fetching) return this.#series.columns(begin);
    const points = this.#fetched?.points ?? [];
    const columns = Array.from({ length: width + 1 }, () => []);
    for (const [second, ...values] of points) {
      columns[0].push(second);
      // The last column is that of all others, however many workers have one of their own.
      for (let index = 0; index < width - 1; index += 1) columns[index + 1].push(index < values.length - 1 ? values[index] : 0);
      columns[width].push(values.at(-1));
    }
    return columns;
  }

  #choose() {
    const chosen = new FormData(element("view"));
    this.#seconds = Number(chosen.get("seconds"));
    this.#by = chosen.get("by");
    this.#fetched = null;
    this.#cursor = null;
    const minutes = this.#seconds / 60;
    element("chart").setAttribute(
      "aria-label",
      `Graph of the hashes per second ${this.#by === "worker" ? "of each worker " : ""}over the last ${minutes === 1 ? "minute" : `${minutes} minutes`}`,
    );
    this.#legend.shown = this.#by === "worker";
    this.draw();
    this.#follow();
  }

  // Fetches what no event brings, at once and then again while the page is visible.
  async #follow() {
    clearTimeout(this.#timer);
    this.#request += 1;
    const request = this.#request;
    if (document.hidden || !this.#chart) return;
    if (!this.#fetching && this.#seconds <= this.#known) return;
    try {
      const answer = await (this.#by === "worker" ? history.byWorker : history.total)(this.#seconds);
      if (request !== this.#request) return;
      if (this.#fetching) {
        this.#fetched = answer;
      } else {
        this.#series.keep(answer.points);
        this.#known = this.#seconds;
      }
      this.draw();
    } catch (error) {
      console.warn(`No history: ${error.message}`); // the status says whether there is a connection
    }
    if (request !== this.#request) return;
    if (this.#fetching || this.#known < this.#seconds) this.#timer = setTimeout(() => this.#follow(), this.#by === "worker" ? WORKERS_EVERY : HOUR_EVERY);
  }

  #read() {
    const columns = this.#columns(this.#window);
    const index = this.#cursor !== null && columns[0][this.#cursor] !== undefined ? this.#cursor : null;
    if (this.#by === "worker") this.#legend.show(this.#fetched, index);
    if (index === null) {
      show("reading", "");
      return;
    }
    const second = columns[0][index];
    const hashes = columns.slice(1).reduce((sum, column) => sum + (column[index] ?? 0), 0);
    const near = this.annotations.within(this.#window).filter((each) => Math.abs(each.at - second) <= this.#seconds / 120);
    show("reading", [clock(second), speed(hashes), ...near.slice(-2).map(text)].join(" · "));
  }
}
