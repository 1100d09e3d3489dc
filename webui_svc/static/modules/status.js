// How things stand, in a word or two; the only thing on the page that speaks up by itself.

import { element, show } from "./dom.js";
import { speed } from "./format.js";

export function showStatus(connected, figures) {
  const [state, text] = !connected
    ? ["lost", figures ? "Connection lost, trying again" : "No connection yet, trying again"]
    : !figures
      ? ["waiting", "Connecting"]
      : !figures.redis
        ? ["lost", "Redis is unavailable, showing the last known state"]
        : figures.workers === 0
          ? ["waiting", "No worker reports"]
          : figures.speed === 0 && figures.waits_for.length
            ? ["stalled", `Workers wait for ${figures.waits_for.join(" and ")}`]
            : ["live", "Live"];
  const node = element("status");
  if (node.dataset.state !== state) node.dataset.state = state;
  show("status", text);
  document.querySelector("main").classList.toggle("stale", state === "lost");
}

// A tab among many shows the speed.
export function showTitle(connected, figures) {
  const known = connected && figures.redis && figures.speed !== null;
  const title = known ? `${speed(figures.speed)}/s · DockerCoins` : "DockerCoins";
  if (document.title !== title) document.title = title;
}
