// What the words on the page mean. docs/glossary.md has the same sentences, and a test compares them.

import { element, make } from "./dom.js";

export const TERMS = {
  "Hashes per second": "The speed of all workers together: what was counted in the last four seconds, divided by them.",
  Hashes: "All SHA-256 digests counted since the first start, each exactly once.",
  Coins: "All digests counted that begin with four zero bits, one of sixteen on average.",
  Workers: "The workers that report now; each reports once a second.",
  Pace: "classic: rng and hasher take 0.1 s for each request, as in the workshop. full: no delays and large batches.",
  "Batch size": "Hashes that travel together in one message, from the least to the most of all workers.",
  Total: "One curve of all workers together.",
  "By worker": "An area for each worker, stacked; with the logarithmic scale, a curve for each.",
  Fit: "The axis fits the speed since the pace changed last, so earlier speeds may lie above it.",
  Log: "A logarithmic axis: each line is ten times the one below, so that slow and fast are both seen.",
  "From now": "Hides what was before this moment, until it is pressed again; nothing is deleted.",
  "Why?": "Shows which service limits the speed and why, with utilisation and queues. Off at first, so that you can guess.",
  Presentation: "A layout for a projector: the speed, the graph and the replicas fill the screen.",
  rng: "The service that sends random bytes.",
  worker: "The service that requests random bytes, has them hashed, and counts.",
  hasher: "The service that computes SHA-256 digests.",
  redis: "The store of the counts and of the reports.",
  webui: "The service that draws this page.",
  serving: "It takes batches and completes them in time.",
  slow: "It takes far longer than the others of its service.",
  connecting: "Its name has an address, but it does not serve yet.",
  draining: "It completes what it has, and gets no more.",
  waiting: "The worker has counted nothing lately, since a service does not respond.",
  ejected: "It computed a wrong digest, and gets no more batches.",
  gone: "It is not there any more.",
  "share of requests": "The part of all batches that this replica completed in the last five seconds.",
  batches: "Batches that this replica completed per second, in the last five seconds.",
  p50: "Half of the batches took this time or less.",
  p99: "99 of 100 batches took this time or less.",
  utilisation: "The part of the time in which it had at least one request; for a worker, the part of a core that it used. A replica that serves one request at a time can do no more at 100 %.",
  queue: "Batches that were sent to it and have no response yet, on average: in service or waiting.",
  "service time": "The time that it takes for one batch, without waiting.",
  limit: "What the speed depends on: the service that the others wait for, or the workers. Only more of it makes the system faster.",
  predicted: "The speed that the limit allows: the replicas of a service, divided by the time that each takes for a batch; or what the workers have in flight, or their CPU, allows.",
  hashes: "Hashes per second that this worker counted, in the last four seconds.",
  "batch size": "Hashes that travel together in one message.",
  reports: "What workers write to Redis, per second.",
  browsers: "Browsers that show this page now; all tabs of one share a stream.",
  Expected: "The coins that chance predicts for the hashes of the last minute. In 95 % of all minutes it is between these two.",
  "Load test": "A measurement of speed and latency at many batch sizes, made by make load-test.",
  Measured: "How a load test sent its batches, and how many of them were in flight.",
  "Hashes/s": "The speed at this batch size, the median of all runs.",
  joined: "A replica that takes part from this moment on.",
  left: "A replica that stopped in order, and completed what it had.",
  lost: "A replica that was killed or cut off; its batches were sent to others.",
  hedged: "A batch that takes too long is also sent to another replica; the first response counts.",
  retried: "A batch that failed is sent again, so that it is counted once.",
  pace: "The workers run at another pace from this moment on.",
  autotuned: "A worker that measures itself, and changed its batch size.",
  gap: "A time in which Redis took no reports; workers send them later.",
};

// Every term is explained by a tooltip where it stands, and in a list that needs no pointer.
export function explain() {
  for (const node of document.querySelectorAll("[data-term]")) node.title = TERMS[node.dataset.term];
  const list = element("word-list");
  for (const [term, text] of Object.entries(TERMS)) list.append(make("div", {}, make("dt", {}, term), make("dd", {}, text)));
}
