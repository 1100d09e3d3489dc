// The stream of events, opened again for as long as the page is open.
//
// EventSource comes back by itself after a broken connection, but not after an answer that is an error, as a proxy gives
// while webui is away, and it does not notice a connection that fell silent, as after a laptop's sleep.

const RETRY = 1000; // ms
const SILENCE = 40000; // ms; the server sends a heartbeat after 15 s without news
const GREETING = 4000; // ms in which a shared worker says that it is there

// The stream that all tabs of this browser share; one of this tab's own where that is not possible.
export function follow(url, sharedUrl, handlers) {
  let port = null;
  let watchdog = null;
  let worker = null;

  const alone = () => {
    leave();
    worker = null;
    connect(url, handlers);
  };
  const leave = () => {
    clearTimeout(watchdog);
    port?.postMessage("leave");
    port?.close();
    port = null;
  };
  const wait = (act, time) => {
    clearTimeout(watchdog);
    watchdog = setTimeout(act, time);
  };
  const ask = () => {
    port.postMessage("ping");
    wait(alone, GREETING);
  };
  const join = () => {
    try {
      worker = new SharedWorker(sharedUrl);
    } catch {
      alone(); // a browser without them
      return;
    }
    worker.addEventListener("error", () => worker && alone());
    port = worker.port;
    port.addEventListener("message", ({ data: { kind, data } }) => {
      wait(ask, SILENCE);
      handlers[kind]?.(data);
    });
    port.start();
    wait(alone, GREETING);
  };

  addEventListener("pagehide", leave);
  addEventListener("pageshow", ({ persisted }) => persisted && worker && join());
  join();
}

export function connect(url, { snapshot, update, connected }) {
  let source = null;
  let watchdog = null;
  let known = null;

  const report = (yes) => {
    if (yes !== known) connected((known = yes));
  };

  const open = () => {
    clearTimeout(watchdog);
    source?.close();
    source = new EventSource(url);
    source.addEventListener("open", alive);
    source.addEventListener("heartbeat", alive);
    source.addEventListener("snapshot", (event) => received(snapshot, event));
    source.addEventListener("update", (event) => received(update, event));
    source.addEventListener("error", () => {
      report(false);
      clearTimeout(watchdog);
      watchdog = setTimeout(open, source.readyState === EventSource.CLOSED ? RETRY : SILENCE);
    });
    watchdog = setTimeout(silent, SILENCE);
  };

  const silent = () => {
    report(false);
    open();
  };

  const alive = () => {
    report(true);
    clearTimeout(watchdog);
    watchdog = setTimeout(silent, SILENCE);
  };

  const received = (handler, event) => {
    alive();
    handler(JSON.parse(event.data));
  };

  open();
}
