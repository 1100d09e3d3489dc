// The topology: every replica that is there, and what flows between them.

import { arrange, make, setText } from "./dom.js";
import { Edges, isAway } from "./edges.js";
import { about, count, duration, share, speed } from "./format.js";

const DENSE = 4; // replicas beyond which each gets less room
const ABOUT = {
  rng: "random bytes",
  worker: "sends batches, counts",
  hasher: "SHA-256",
  redis: "keeps the counts",
  webui: "this page",
};
const rate = (value) => `${speed(value)}/s`;

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

export class Topology {
  #place;
  #groups = {};
  #edges;
  #still = false;

  constructor(place) {
    this.#place = place;
    for (const name of ["rng", "worker", "hasher", "redis", "webui"]) {
      const title = make("h3", {}, name);
      const replicas = make("ul", { class: "replicas" });
      const note = make("p", { class: "about" });
      const more = make("p", { class: "more", hidden: "" });
      const group = make("div", { class: "service", role: "group", "data-service": name, "aria-label": name }, make("div", { class: "service-bar" }, title, note), replicas, more);
      this.#groups[name] = { group, replicas, note, more };
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

  show(topology) {
    this.#showReplicas("rng", topology.rng, facts.server);
    this.#showReplicas("worker", topology.worker, facts.worker);
    this.#showReplicas("hasher", topology.hasher, facts.server);
    this.#showReplicas("redis", { replicas: [topology.redis], more: 0 }, facts.redis);
    this.#showReplicas("webui", { replicas: [{ ...topology.webui, state: "serving" }], more: 0 }, facts.webui);
    this.#edges.show(topology);
  }

  #showReplicas(service, { replicas, more }, lines) {
    const { group, replicas: list, note, more: rest } = this.#groups[service];
    const byKey = new Map(replicas.map((replica) => [replica.id ?? replica.name, replica]));
    const total = replicas.filter((replica) => !isAway(replica)).length + more;
    setText(note, total > 1 ? `${count(total)} replicas` : replicas.length ? ABOUT[service] : "none known");
    group.classList.toggle("dense", replicas.length > DENSE);
    rest.hidden = !more;
    setText(rest, more ? `+${count(more)} more` : "");
    const boxes = arrange(list, [...byKey.keys()], () =>
      make("li", { class: "replica" }, make("p", { class: "name" }, make("b"), make("span", { class: "state" })), make("div", { class: "facts" })),
    );
    boxes.forEach((box, index) => this.#showBox(box, [...byKey.values()][index], lines));
  }

  #showBox(box, replica, lines) {
    const [head, body] = box.children;
    if (box.dataset.state !== replica.state) box.dataset.state = replica.state;
    head.firstChild.title = replica.address ? `${replica.name} at ${replica.address}` : replica.name;
    setText(head.firstChild, replica.name);
    setText(head.lastChild, replica.state === "waiting" ? `waits for ${replica.waits_for}` : replica.state);
    box.style.setProperty("--share", (!isAway(replica) && replica.share) || 0);
    const wanted = isAway(replica) ? [] : lines(replica);
    const rows = arrange(body, wanted.map((_, index) => `${index}`), () => make("p"));
    rows.forEach((row, index) => {
      const cells = arrange(row, wanted[index].map(([label]) => label), (label) => make("span", { class: "fact" }, make("span", { class: "label" }, `${label} `), make("span", { class: "value" })));
      cells.forEach((cell, position) => setText(cell.lastChild, wanted[index][position][1]));
    });
  }
}
