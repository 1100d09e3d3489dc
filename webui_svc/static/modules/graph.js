// What the graph shows: which time, of whom, and how that is kept up to date.

import { Annotations, text } from "./annotations.js";
import { openChart } from "./chart.js";
import { element, show } from "./dom.js";
import { clock, speed } from "./format.js";
import * as history from "./history.js";
import { Legend } from "./legend.js";
import { Series } from "./series.js";
import { Story } from "./story.js";

const BY_SECOND = 900; // seconds; further back the server knows ten at a time
const HOUR_EVERY = 10_000; // ms between two looks at the hour
const WORKERS_EVERY = 2_000; // ms
const SHORTEST = 30; // seconds that are shown at least

export class Graph {
  #annotations = new Annotations();
  #series = new Series();
  #legend = new Legend();
  #story = new Story(() => this.draw());
  #chart = null;
  #seconds = 300;
  #by = "total";
  #log = false;
  #from = 0; // what was before is not shown
  #fetched = null; // the hour, or workers: what the server said last
  #known = 0; // seconds that the series holds from the beginning
  #request = 0; // the number of the latest request, whose answer counts
  #timer = null;
  #stale = false;
  #predicted = null;
  #changed = true; // since it was drawn
  #ahead = 0; // seconds that the server's clock is ahead of this one
  #cursor = null;
  #columns = [[], []]; // as drawn

  open() {
    const form = element("view");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.#choose());
    element("reset").addEventListener("click", () => this.#reset());
    document.addEventListener("visibilitychange", () => this.#follow());
    const read = (index) => {
      this.#cursor = index;
      this.#read();
    };
    this.#chart = openChart(element("chart"), read, () => this.draw());
    this.#choose(); // a browser keeps what was chosen before a reload
  }

  restart(data) {
    this.#series.clear();
    this.#known = data.shown_seconds;
    this.#annotations.clear();
    this.keep(data);
    this.#follow();
  }

  keep(data) {
    this.#ahead = data.now - Date.now() / 1000;
    this.#series.keep(data.points);
    this.#annotations.keep(data.annotations ?? [], data.now);
    this.#changed ||= data.points.length > 0 || Boolean(data.annotations?.length);
  }

  // Draws what arrived. stale: whether there is no news now, while time goes on; predicted: what the speed should be, in
  // hashes per second, or null if that is not shown.
  show(stale, predicted) {
    this.#changed ||= stale || stale !== this.#stale || predicted !== this.#predicted;
    this.#stale = stale;
    this.#predicted = predicted;
    if (this.#changed) this.draw();
  }

  draw() {
    if (!this.#chart) return;
    this.#changed = false;
    const window = this.#window;
    const all = this.#annotations.within(window);
    const annotations = this.#story.chosen(all);
    const last = this.#last;
    const shades = all.filter(({ kind }) => kind === "gap").map(({ at, until }) => [at, until > at ? until : window.end]);
    if (this.#stale && last !== null) shades.push([last, window.end]);
    const epochs = all.filter(({ kind, at }) => kind === "pace" && at >= window.begin).map(({ at }) => at);
    this.#columns = this.#columnsOf(window);
    this.#chart.draw({
      columns: this.#columns,
      window,
      annotations,
      shades,
      epochs,
      kind: this.#by === "total" ? "total" : this.#log ? "lines" : "stack",
      log: this.#log,
      predicted: this.#predicted,
      view: `${this.#seconds} ${this.#from}`,
    });
    this.#story.show(annotations, all.length > 0, window, this.#chart.area);
    this.#read();
  }

  get #fetching() {
    return this.#by === "worker" || this.#seconds > BY_SECOND;
  }

  get #last() {
    return this.#fetching ? (this.#fetched?.points.at(-1)?.[0] ?? null) : this.#series.end;
  }

  // A system that has just begun fills the graph.
  get #first() {
    return (this.#fetching ? this.#fetched?.points[0]?.[0] : this.#series.begin) ?? 0;
  }

  get #now() {
    return Math.floor(Date.now() / 1000 + this.#ahead);
  }

  // It ends with the last second known, so the curve never tears off at the right, but goes on without news.
  get #window() {
    const end = this.#stale ? Math.max(this.#now, this.#last ?? 0) : (this.#last ?? this.#now);
    return { begin: Math.max(end - this.#seconds + 1, Math.min(Math.max(this.#from, this.#first), end - SHORTEST)), end };
  }

  #columnsOf({ begin }) {
    const first = Math.max(begin, this.#from);
    if (!this.#fetching) return this.#series.columns(first);
    if (this.#by === "worker") return since(this.#legend.columns(this.#fetched), first);
    const points = this.#fetched?.points ?? [];
    return since([points.map(([second]) => second), points.map(([, value]) => value)], first);
  }

  #choose() {
    const chosen = new FormData(element("view"));
    this.#seconds = Number(chosen.get("seconds"));
    this.#log = chosen.get("scale") === "log";
    if (this.#by !== chosen.get("by") || this.#fetching) this.#fetched = null;
    this.#by = chosen.get("by");
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

  #reset() {
    this.#from = this.#from ? 0 : this.#now;
    element("reset").setAttribute("aria-pressed", this.#from > 0);
    this.draw();
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
    const columns = this.#columns;
    const index = this.#cursor !== null && columns[0][this.#cursor] !== undefined ? this.#cursor : null;
    if (this.#by === "worker") this.#legend.show(this.#fetched, columns, index);
    if (index === null) {
      show("reading", "");
      return;
    }
    const second = columns[0][index];
    const hashes = columns.slice(1).reduce((sum, column) => sum + (column[index] ?? 0), 0);
    const near = this.#story.chosen(this.#annotations.within(this.#window)).filter(({ at }) => Math.abs(at - second) <= this.#seconds / 120);
    show("reading", [clock(second), speed(hashes), ...near.slice(-2).map(text)].join(" · "));
  }
}

// The columns from a second on.
function since(columns, second) {
  const first = columns[0].findIndex((each) => each >= second);
  return columns.map((column) => (first < 0 ? [] : column.slice(first)));
}
