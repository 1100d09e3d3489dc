// The flow between the boxes, drawn beneath them: dots that run the faster the more batches go that way.

const SVG = "http://www.w3.org/2000/svg";
const PERIOD = 18; // px between two dots, as in the style sheet
// Dots move in steps, by a timer: an animation of the browser's costs five times as much, since it computes each frame.
const STEP = 150; // ms
const CORNER = 8; // px
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// Steps along an edge per second: one batch a second is slow, a million are fast, and both can be followed by eye.
const pace = (rate) => (rate > 0 ? 0.5 + 0.55 * Math.log10(1 + rate) : 0);

// Whether a replica gets no batches because there is no connection to it.
export const isAway = ({ state }) => state === "gone" || state === "connecting";

export class Edges {
  #place;
  #groups;
  #svg = document.createElementNS(SVG, "svg");
  #paths = new Map();
  #rates = new Map();
  #still = false;
  #wanted = false;
  #timer = null;

  constructor(place, groups) {
    this.#place = place;
    this.#groups = groups;
    this.#svg.setAttribute("class", "edges");
    this.#svg.setAttribute("aria-hidden", "true");
    place.prepend(this.#svg);
    new ResizeObserver(() => this.#layOutSoon()).observe(place);
    calm.addEventListener("change", () => this.#move());
    document.addEventListener("visibilitychange", () => this.#move());
  }

  set still(yes) {
    this.#still = yes;
    this.#move();
  }

  // Rates of all that flows, in batches or reports a second.
  show({ rng, worker, hasher, redis }) {
    this.#rates.clear();
    const batches = (replica) => replica.speed / Math.max(replica.batch_size, 1);
    const rates = (service, replicas, rate) =>
      replicas.forEach((replica, index) => this.#rates.set(`${service} ${index}`, isAway(replica) ? 0 : rate(replica)));
    rates("rng", rng.replicas, (replica) => replica.rate);
    rates("hasher", hasher.replicas, (replica) => replica.rate);
    rates("to worker", worker.replicas, batches);
    rates("from worker", worker.replicas, batches);
    this.#rates.set("reports", redis.state === "gone" ? 0 : redis.reports);
    this.#rates.set("events", redis.state === "gone" ? 0 : redis.reports);
    this.#rates.set("rng", Math.max(0, ...rng.replicas.map((replica) => replica.rate)));
    this.#rates.set("hasher", Math.max(0, ...hasher.replicas.map((replica) => replica.rate)));
    this.#layOutSoon();
  }

  #layOutSoon() {
    if (this.#wanted) return;
    this.#wanted = true;
    requestAnimationFrame(() => {
      this.#wanted = false;
      this.#layOut();
    });
  }

  #layOut() {
    const origin = this.#place.getBoundingClientRect();
    const box = (node) => {
      const { left, right, top, bottom } = node.getBoundingClientRect();
      return { left: left - origin.left, right: right - origin.left, top: top - origin.top, bottom: bottom - origin.top };
    };
    const group = (name) => box(this.#groups[name].group);
    const stacked = group("worker").left < group("rng").right;
    const routes = stacked ? this.#down(group) : this.#across(group, box);
    this.#draw(routes);
    this.#move();
  }

  // On a narrow page services stand on each other; what goes to redis passes hasher at the side.
  #down(group) {
    const [rng, worker, hasher, redis, webui] = ["rng", "worker", "hasher", "redis", "webui"].map(group);
    const drop = (from, to) => {
      const x = (Math.max(from.left, to.left) + Math.min(from.right, to.right)) / 2;
      return `M${x} ${from.bottom}V${to.top}`;
    };
    const side = this.#place.clientWidth - 6;
    const middle = (worker.top + worker.bottom) / 2;
    const target = (redis.top + redis.bottom) / 2;
    const around = `M${worker.right} ${middle}H${side - CORNER}Q${side} ${middle} ${side} ${middle + CORNER}V${target - CORNER}Q${side} ${target} ${side - CORNER} ${target}H${redis.right}`;
    return new Map([
      ["rng", drop(rng, worker)],
      ["hasher", drop(worker, hasher)],
      ["reports", around],
      ["events", drop(redis, webui)],
    ]);
  }

  // Side by side, all edges of two services meet halfway, so that three and three are six lines and not nine. Boxes of
  // one row share an edge, as fast as the fastest of them.
  #across(group, box) {
    const [rng, worker, hasher, redis, webui] = ["rng", "worker", "hasher", "redis", "webui"].map(group);
    const routes = new Map();
    const middle = (area) => (area.top + area.bottom) / 2;
    const name = (kind, indexes) => indexes.map((index) => `${kind} ${index}`).join(", ");
    const bend = (x1, y1, x2, y2) => `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;
    const rows = (name) => this.#rows([...this.#groups[name].replicas.children].map(box));
    const list = box(this.#groups.worker.replicas);
    const height = list.bottom > list.top ? middle(list) : middle(worker);
    const last = rows("worker").at(-1) ?? worker;
    const left = (rng.right + worker.left) / 2;
    const right = (worker.right + hasher.left) / 2;
    rows("rng").forEach(({ y, right: end, indexes }) => routes.set(name("rng", indexes), bend(end, y, left, height)));
    rows("worker").forEach(({ y, right: end, indexes }) => {
      routes.set(name("to worker", indexes), bend(left, height, worker.left, y));
      routes.set(name("from worker", indexes), bend(end, y, right, height));
    });
    rows("hasher").forEach(({ y, indexes }) => routes.set(name("hasher", indexes), bend(right, height, hasher.left, y)));
    routes.set("reports", bend(last.right, last.bottom - CORNER, redis.left, (redis.top + redis.bottom) / 2));
    routes.set("events", `M${redis.right} ${middle(redis)}H${webui.left}`);
    return routes;
  }

  #rows(boxes) {
    const rows = new Map();
    boxes.forEach(({ top, bottom, right }, index) => {
      const key = Math.round(top);
      if (!rows.has(key)) rows.set(key, { y: (top + bottom) / 2, bottom, indexes: [] });
      rows.get(key).right = right; // of the last box
      rows.get(key).indexes.push(index);
    });
    return [...rows.values()];
  }

  #draw(routes) {
    const { clientWidth, clientHeight } = this.#place;
    this.#svg.setAttribute("width", clientWidth);
    this.#svg.setAttribute("height", clientHeight);
    for (const [name, { base, flow }] of this.#paths) {
      if (routes.has(name)) continue;
      base.remove();
      flow.remove();
      this.#paths.delete(name);
    }
    for (const [name, route] of routes) {
      let path = this.#paths.get(name);
      if (!path) {
        const [base, flow] = ["base", "flow"].map((kind) => {
          const node = document.createElementNS(SVG, "path");
          node.setAttribute("class", kind);
          this.#svg.append(node);
          return node;
        });
        path = { base, flow, offset: 0, speed: 0, route: "" };
        this.#paths.set(name, path);
      }
      if (path.route === route) continue;
      path.route = route;
      path.base.setAttribute("d", route);
      path.flow.setAttribute("d", route);
    }
  }

  #move() {
    let moves = false;
    for (const [name, path] of this.#paths) {
      const rates = name.split(", ").map((each) => this.#rates.get(each) ?? 0);
      path.speed = this.#still ? 0 : pace(Math.max(...rates));
      path.flow.classList.toggle("idle", path.speed === 0);
      moves ||= path.speed > 0;
    }
    if (moves && !calm.matches && !document.hidden) {
      this.#timer ??= setInterval(() => this.#step(), STEP);
    } else {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }

  #step() {
    for (const path of this.#paths.values()) {
      if (!path.speed) continue;
      path.offset = (path.offset + PERIOD - (path.speed * PERIOD * STEP) / 1000) % PERIOD;
      path.flow.style.strokeDashoffset = path.offset.toFixed(1);
    }
  }
}
