// In the page itself, so that it is there when nothing else is: what failed to load is named and loaded again.
(() => {
  const FIRST_WAIT = 500; // ms, doubled with each failure
  const LONGEST_WAIT = 8000; // ms
  const PATIENCE = 10000; // ms without the page's script, after which that is said
  const SCRIPT = "The page's script";
  const failures = new Map();

  const whenParsed = (act) => (document.readyState === "loading" ? addEventListener("DOMContentLoaded", act) : act());
  const started = () => document.documentElement.dataset.started !== undefined;
  const say = (text) =>
    whenParsed(() => {
      const status = document.getElementById("status");
      status.dataset.state = "lost";
      status.textContent = text;
    });

  const again = (node) =>
    whenParsed(() => {
      const copy = document.createElement(node.tagName);
      for (const { name, value } of node.attributes) copy.setAttribute(name, value);
      // Style sheets that arrive late change the colours of what is drawn already.
      copy.addEventListener("load", () => document.dispatchEvent(new Event("restyled")));
      node.replaceWith(copy);
    });

  addEventListener(
    "error",
    (event) => {
      const node = event.target;
      if (node === window) {
        if (!started()) say(`${SCRIPT} failed: ${event.message}. Reload the page, or use a newer browser.`);
        return;
      }
      const url = node.src ?? node.href;
      if (!url) return;
      const times = (failures.get(url) ?? 0) + 1;
      failures.set(url, times);
      if (!started()) say(`${new URL(url).pathname.split("/").at(-1)} did not load, trying again (${times})`);
      setTimeout(again, Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (times - 1)), node);
    },
    true,
  );
  setTimeout(() => {
    if (!started() && !failures.size) say(`${SCRIPT} is slow to load, still waiting`);
  }, PATIENCE);
})();
