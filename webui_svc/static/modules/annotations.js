// What changed, when, and in which words. An annotation may come again with the same id, as it grows.

import { clock, count } from "./format.js";

const KEPT = 3600; // seconds
const MOST = 400;

// What can be chosen together, and how each kind looks: a shape, a colour of the page, and whether it is a line in the graph.
export const GROUPS = {
  "Joined and left": ["joined", "left", "lost"],
  "Slow and retried": ["slow", "retried", "ejected"],
  "Waiting and gaps": ["waiting", "gap"],
  "Pace and batch size": ["pace", "autotuned"],
};
const LOOKS = {
  joined: { glyph: "+", colour: "good", line: true },
  left: { glyph: "−", colour: "quiet", line: true },
  lost: { glyph: "✕", colour: "bad", line: true },
  slow: { glyph: "▲", colour: "late", line: false },
  retried: { glyph: "↻", colour: "late", line: false },
  ejected: { glyph: "⊘", colour: "bad", line: true },
  waiting: { glyph: "◷", colour: "bad", line: false },
  gap: { glyph: "▨", colour: "quiet", line: false },
  pace: { glyph: "◆", colour: "ink", line: true },
  autotuned: { glyph: "◇", colour: "quiet", line: false },
};
export const look = ({ kind }) => LOOKS[kind] ?? { glyph: "◆", colour: "ink", line: false };

const SAYS = {
  joined: (each) => `${subject(each)} joined`,
  left: (each) => `${subject(each)} left`,
  lost: (each) => `${subject(each)} lost`,
  slow: ({ names: [name], count: batches, to }) => `${name} slow${batches ? `: ${some(batches, "batch", "batches")} hedged${to.length ? ` to ${to.join(", ")}` : ""}` : ""}`,
  retried: ({ names: [name], count: batches }) => `${some(batches, "batch", "batches")} of ${name} retried`,
  ejected: ({ names: [name] }) => `${name} ejected: wrong digest`,
  waiting: ({ count: workers, names: [name], service }) => (workers > 1 ? `${count(workers)} workers wait for ${service}` : `${name ?? "a worker"} waits for ${service}`),
  gap: ({ at, until }) => (until > at ? `no reports until ${clock(until)}` : "no reports"),
  pace: ({ value }) => `pace ${value}`,
  autotuned: ({ value }) => `autotuned: ${value}`,
};

const some = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
const subject = ({ names, count: number, service }) => (number > 1 ? `${count(number)} ${service === "worker" ? "workers" : `${service} replicas`}` : names[0]);

export const text = (annotation) => SAYS[annotation.kind]?.(annotation) ?? annotation.kind;

export class Annotations {
  #annotations = new Map();

  clear() {
    this.#annotations.clear();
  }

  keep(annotations, now) {
    for (const annotation of annotations) this.#annotations.set(annotation.id, annotation);
    const kept = this.all.filter(({ until }) => until >= now - KEPT).sort((a, b) => a.at - b.at);
    this.#annotations = new Map(kept.slice(-MOST).map((annotation) => [annotation.id, annotation]));
  }

  get all() {
    return [...this.#annotations.values()];
  }

  within({ begin, end }) {
    return this.all.filter(({ at, until }) => at <= end && until >= begin);
  }
}
