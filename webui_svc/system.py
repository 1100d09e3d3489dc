from collections import deque
from typing import Any

from chassis.redis.schema import SERVICES, ReplicaSnapshot
from webui_svc.fleet import MOST_LISTED, WINDOW, Fleet, natural
from webui_svc.speed import Speed


class System:
    """Every replica that is really there, as the workers and Redis tell. `clock` is one that never jumps."""

    def __init__(self, redis_name: str, webui_name: str) -> None:
        self.fleets = {service: Fleet() for service in SERVICES}
        self.browsers = 0
        """How many pages are open."""
        self._redis_name = redis_name
        self._webui_name = webui_name
        self._reports: deque[float] = deque()
        self._replicas: dict[str, Any] = {}

    def hear_report(self, heard: float) -> None:
        """A report came."""
        self._reports.append(heard)

    def hear_view(self, worker: str, heard: float, view: ReplicaSnapshot, report_interval: float) -> None:
        """A worker says what it sees, and will again after so many seconds."""
        for service, fleet in self.fleets.items():
            fleet.hear(worker, heard, view.seconds, getattr(view, service), report_interval=report_interval)

    def settle(self, speed: Speed, now_us: int, clock: float) -> None:
        """Merge what was heard, and leave out what is too old."""
        while self._reports and clock - self._reports[0] > WINDOW:
            self._reports.popleft()
        live = speed.workers.live(clock)
        for fleet in self.fleets.values():
            fleet.settle(live.keys(), clock)
        self._replicas = {service: fleet.replicas() for service, fleet in self.fleets.items()}
        self._replicas["worker"] = _workers(speed, now_us, clock)

    def figures(self, *, redis: bool) -> dict[str, Any]:
        """All of it. While Redis is away, it is what was known before."""
        empty = {"replicas": [], "more": 0}
        rate = round(len(self._reports) / WINDOW, 1) if redis else 0.0
        return {
            **{service: self._replicas.get(service, empty) for service in (*SERVICES, "worker")},
            "redis": {"name": self._redis_name, "state": "serving" if redis else "gone", "reports": rate},
            "webui": {"name": self._webui_name, "browsers": self.browsers},
        }


def shape(figures: dict[str, Any]) -> list[Any]:
    """Who is there and how they do, without figures that always move."""
    names = [[(each["name"], each["state"]) for each in figures[kind]["replicas"]] for kind in (*SERVICES, "worker")]
    return [*names, figures["redis"]["state"]]


def _workers(speed: Speed, now_us: int, clock: float) -> dict[str, Any]:
    live, gone = speed.workers.live(clock), speed.workers.gone(clock)
    known = {**live, **gone}
    listed = sorted(known, key=lambda name: (natural(known[name].instance), name))
    replicas = [
        {
            "name": known[name].instance,
            "id": name,
            "state": "gone" if name not in live else "waiting" if known[name].waits_for else "serving",
            "waits_for": known[name].waits_for if name in live else "",
            "speed": round(known[name].speed(now_us) or 0.0, 4) if name in live else 0.0,
            "batch_size": known[name].batch_size,
        }
        for name in listed[:MOST_LISTED]
    ]
    return {"replicas": replicas, "more": len(listed) - len(replicas)}
