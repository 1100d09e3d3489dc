"""The dashboard's state, as browsers get it."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from chassis.redis.schema import BUCKET_S, REPORTS_S, Annotation, NewCoins, ReplicaSnapshot, Report
from webui_svc.annotations import Annotations
from webui_svc.coins import CoinStatistics
from webui_svc.replicas import Topology
from webui_svc.speed import HourlyHistory, Speed
from webui_svc.timeline import Timeline

# Seconds of the graph that a browser gets when it opens the page.
SHOWN_S = 300

# Figures that are sent only when they change.
LARGE = ("topology", "coin_statistics", "lesson")


class DashboardState:
    """All that the page shows, as of Redis's last reply.

    Inside, times are on the timeline's axis; what is shown has Redis's time.
    """

    def __init__(self, redis_name: str, webui_name: str) -> None:
        self.timeline = Timeline()
        self.speed = Speed()
        self.hour = HourlyHistory()
        self.topology = Topology(redis_name, webui_name)
        self.redis_available = False
        self.hashes = 0
        self.coins = 0
        # The reports of load tests, as JSON for browsers.
        self.load_tests = b'{"reports":[]}'
        self._load_tests: dict[str, Any] = {"count": 0, "newest": None}
        self._annotations = Annotations()
        self._coins = CoinStatistics()
        self._coin_figures: dict[str, Any] = self._coins.figures(self.speed)
        self._published: dict[str, Any] = {}

    def ingest(self, report: Report, seen: float) -> Report | None:
        """Count a report; `seen` is on the monotonic clock. Return it on the axis, or None if it was counted before."""
        if placed := self.timeline.place(report):
            self.speed.ingest(placed, self.timeline.now, seen)
            self.topology.ingest(seen)
        return placed

    def ingest_annotation(self, annotation: Annotation) -> None:
        """Store what changed."""
        self._annotations.ingest(annotation, self.timeline.place_moment)

    def ingest_replicas(self, worker: str, seen: ReplicaSnapshot) -> None:
        """Store what a worker reports about its replicas."""
        known = self.speed.workers.get(worker)
        interval_s = known.report_interval_s if known else 0.0
        self.topology.ingest_replicas(worker, time.monotonic(), seen, interval_s)

    def ingest_coins(self, worker: str, coins: NewCoins) -> None:
        """Store the latest coins of a worker."""
        self._coins.ingest(worker, coins, lambda at: self.timeline.place_worker_time(worker, at))

    def ignore_gap(self, seconds: float) -> None:
        """Do not count the last `seconds`, in which Redis was unreachable, as silence of workers or replicas."""
        self.speed.ignore_gap(seconds)
        for statistics in self.topology.statistics.values():
            statistics.ignore_gap(seconds)

    def set_totals(self, totals: dict[int, float]) -> None:
        """Store the hour's ten-second buckets; buckets that end by `speed.complete_until` are complete."""
        self.hour.set_totals(totals, (self.speed.complete_until or 0) + self.timeline.shift_s)

    def set_load_tests(self, reports: Sequence[dict[str, Any]]) -> None:
        """Store the reports of load tests, newest first."""
        self.load_tests = msgspec.json.encode({"reports": reports})
        began = reports[0]["began"] if reports else None
        self._load_tests = {"count": len(reports), "newest": began[:40] if isinstance(began, str) else None}

    def finalize(self) -> None:
        """Compute what the reports so far determine."""
        now, clock = self.timeline.now, time.monotonic()
        self.speed.finalize(now, clock)
        if self.topology.finalize(self.speed, self.timeline.now_us, clock):
            self._coin_figures = self._coins.figures(self.speed, self.timeline.shift_s)

    def history(self, seconds: int, *, by_worker: bool) -> dict[str, Any]:
        """Return the speed over the last seconds, of all workers or of each, with its resolution in seconds."""
        is_recent = seconds <= REPORTS_S
        source = self.speed if is_recent else self.hour
        history: dict[str, Any] = {"now": self.now(), "resolution": 1 if is_recent else BUCKET_S}
        points: Sequence[Sequence[float | None]]
        if by_worker:
            live = {worker.report.instance for worker in self.speed.live(time.monotonic()).values()}
            history["workers"], points = source.points_by_worker(seconds, live)
            history["gone"] = [name for name in history["workers"] if name not in live]
        else:
            points = source.points(seconds)
        return {**history, "points": self._shifted(points) if is_recent else points}

    def now(self) -> float:
        """Return now in Unix seconds, by Redis's clock."""
        return round(self.timeline.now + self.timeline.shift_s, 3)

    def snapshot(self) -> bytes:
        """Return the full state for a new page, as a server-sent event."""
        figures = {"now": self.now(), **self._figures(), "shown_seconds": SHOWN_S}
        figures["annotations"] = self._annotations.all(self.timeline.now, self.timeline.shift_s)
        return _event("snapshot", {**figures, "points": self._shifted(self.speed.points(SHOWN_S))})

    def update(self) -> bytes | None:
        """Return what changed since the last update, as a server-sent event; None if nothing did."""
        points = self._shifted(self.speed.take_changed()[-SHOWN_S:])
        annotations = self._annotations.take_changed(self.timeline.shift_s)
        figures = self._figures()
        if not points and not annotations and figures == self._published:
            return None
        changed = {
            name: value for name, value in figures.items() if name not in LARGE or value != self._published.get(name)
        }
        if annotations:
            changed["annotations"] = annotations
        self._published = figures
        return _event("update", {"now": self.now(), **changed, "points": points})

    def _shifted(self, points: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
        return [[(second or 0) + self.timeline.shift_s, *hashes] for second, *hashes in points]

    def _figures(self) -> dict[str, Any]:
        figures = {
            "redis": self.redis_available,
            "hashes": self.hashes,
            "coins": self.coins,
            "load_tests": self._load_tests,
            "topology": self.topology.figures(redis=self.redis_available),
            "lesson": self.topology.lesson,
            "coin_statistics": self._coin_figures,
        }
        if not self.redis_available:  # the current workers are unknown
            return {**figures, "speed": None, "workers": None, "waits_for": [], "paces": [], "batch_size": None}
        clock = time.monotonic()
        speed = self.speed.current(clock, self.timeline.now_us)
        reports = [worker.report for worker in self.speed.live(clock).values()]
        sizes = {report.batch_size for report in reports}
        return {
            **figures,
            "speed": None if speed is None else round(speed, 4),
            "workers": len(reports),
            "waits_for": sorted({report.waits_for for report in reports if report.waits_for}),
            "paces": sorted({report.pace.value for report in reports}),
            "batch_size": [min(sizes), max(sizes)] if sizes else None,
        }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
