// The topology: every replica that is there, and what flows between them. With "Why?" it shows where batches wait.

import { arrange, element, make, setText, show } from "./dom.js";
import { Edges, isAway } from "./edges.js";
import { about, count, duration, share, speed } from "./format.js";
import { TERMS } from "./terms.js";

// Replicas beyond which each gets less room, and beyond which it has a line of its own and no figures.
const DENSE = { rng: 2, worker: 4, hasher: 2 };
const CROWDED = { rng: 6, worker: 10, hasher: 6 };
const ABOUT = {
  rng: "random bytes",
  worker: "sends batches, counts",
  hasher: "SHA-256",
  redis: "the counts",
  webui: "this page",
};
const rate = (value) => `${speed(value)}/s`;
const known = (value, format) => (value == null ? "–" : format(value));

// Lines of a box, each a list of [label that is read, text].
const facts = {
  server: ({ share: part, rate: batches, p50, p99 }) => [
    [["share of requests", share(part)], ["batches", rate(batches)]],
    [["p50", duration(p50)], ["p99", duration(p99)]],
  ],
  worker: (worker) => [[["hashes", rate(worker.speed)], ["batch size", count(worker.batch_size)]]],
  redis: ({ reports }) => [[["reports", `${about(reports)}/s`]]],
  webui: ({ browsers }) => [[["browsers", count(browsers)]]],
};

// The same, of what "Why?" needs.
const reasons = {
  ...facts,
  server: ({ busy, queue, service_time: time, rate: batches }) => [
    [["utilisation", known(busy, share)], ["queue", known(queue, about)]],
    [["service time", known(time, duration)], ["batches", rate(batches)]],
  ],
  worker: (worker) => [[["hashes", rate(worker.speed)], ["utilisation", known(worker.busy, share)]]],
};

export class Topology {
  #place;
  #groups = {};
  #edges;
  #still = false;

  constructor(place) {
    this.#place = place;
    for (const name of ["rng", "worker", "hasher", "redis", "webui"]) {
      const title = make("h3", { title: TERMS[name] }, name);
      const replicas = make("ul", { class: "replicas" });
      const note = make("p", { class: "about" });
      const more = make("p", { class: "more", hidden: "" });
      const limit = make("p", { class: "limit", title: TERMS.limit, hidden: "" }, "the limit");
      const group = make("div", { class: "service", role: "group", "data-service": name, "aria-label": name }, make("div", { class: "service-bar" }, title, note, limit), replicas, more);
      this.#groups[name] = { group, replicas, note, more, limit };
      setText(note, ABOUT[name]);
      place.append(group);
    }
    this.#edges = new Edges(place, this.#groups);
  }

  // Whether it is not known what flows.
  set still(yes) {
    if (yes === this.#still) return;
    this.#still = yes;
    this.#place.classList.toggle("still", yes);
    this.#edges.still = yes;
  }

  // lesson: which service is the limit, and why; null if that is not to be seen.
  show(topology, lesson) {
    const lines = lesson ? reasons : facts;
    this.#showReplicas("rng", topology.rng, lines.server, lesson);
    this.#showReplicas("worker", topology.worker, lines.worker, lesson);
    this.#showReplicas("hasher", topology.hasher, lines.server, lesson);
    this.#showReplicas("redis", { replicas: [topology.redis], more: 0 }, lines.redis);
    this.#showReplicas("webui", { replicas: [{ ...topology.webui, state: "serving" }], more: 0 }, lines.webui);
    this.#edges.show(topology);
    element("why").hidden = !lesson;
    if (lesson) show("why", lesson.sentence || "The limit is not known yet.");
  }

  #showReplicas(service, { replicas, more }, lines, lesson) {
    const { group, replicas: list, note, more: rest, limit } = this.#groups[service];
    const byKey = new Map(replicas.map((replica) => [replica.id ?? replica.name, replica]));
    const total = replicas.filter((replica) => !isAway(replica)).length + more;
    setText(note, total > 1 ? `${count(total)} replicas` : replicas.length ? ABOUT[service] : "none known");
    group.style.setProperty("--replicas", Math.max(1, replicas.length));
    group.classList.toggle("dense", replicas.length > DENSE[service]);
    group.classList.toggle("crowded", replicas.length > CROWDED[service]);
    group.classList.toggle("limits", lesson?.limit === service);
    limit.hidden = lesson?.limit !== service;
    rest.hidden = !more;
    setText(rest, more ? `+${count(more)} more` : "");
    const boxes = arrange(list, [...byKey.keys()], () =>
      make("li", { class: "replica" }, make("p", { class: "name" }, make("b"), make("span", { class: "state" })), make("div", { class: "facts" })),
    );
    boxes.forEach((box, index) => this.#showBox(box, [...byKey.values()][index], lines, lesson));
  }

  #showBox(box, replica, lines, lesson) {
    const [head, body] = box.children;
    if (box.dataset.state !== replica.state) box.dataset.state = replica.state;
    head.firstChild.title = replica.address ? `${replica.name} at ${replica.address}` : replica.name;
    setText(head.firstChild, replica.name);
    setText(head.lastChild, replica.state === "waiting" ? `waits for ${replica.waits_for}` : replica.state);
    head.lastChild.title = TERMS[replica.state];
    box.style.setProperty("--share", (!isAway(replica) && (lesson ? replica.busy : replica.share)) || 0);
    const wanted = isAway(replica) ? [] : lines(replica);
    const rows = arrange(body, wanted.map((_, index) => `${index}`), () => make("p"));
    rows.forEach((row, index) => {
      const cells = arrange(row, wanted[index].map(([label]) => label), (label) =>
        make("span", { class: "fact", title: TERMS[label] }, make("span", { class: "label" }, `${label} `), make("span", { class: "value" })),
      );
      cells.forEach((cell, position) => setText(cell.lastChild, wanted[index][position][1]));
    });
  }
}
