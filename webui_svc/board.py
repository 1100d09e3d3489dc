import json
import time
from typing import Any

from chassis.redis.schema import BUCKET_S, REPORTS_S, SERVICES, NewCoins, ReplicaSnapshot, Report
from webui_svc import totals
from webui_svc.finds import Finds
from webui_svc.load_tests import LoadTests
from webui_svc.marks import Attendance, BatchSizes, Mark, Marks, Waits
from webui_svc.speed import Point, Speed
from webui_svc.system import System, shape
from webui_svc.timeline import Timeline
from webui_svc.worker_totals import WorkerTotals

SHOWN = 300
"""Seconds of the graph that a browser gets when it opens the page."""

MOST_BATCH_SIZES = 8
"""Different batch sizes that are named, the smallest first."""

LEAST_GAP = 1.0
"""Seconds in which nobody could be heard that are marked."""

STEADY = 1.0
"""Seconds between two updates of figures that move with every report, for nobody reads faster."""


class Board:
    """Everything there is to show, as of the last time that Redis answered.

    Inside, times are on the timeline's axis; what is shown has Redis's time.
    """

    def __init__(self, redis_name: str, webui_name: str) -> None:
        self.timeline = Timeline()
        self.speed = Speed()
        self.redis = False
        """Whether Redis answers."""
        self.hashes = 0
        self.coins = 0
        self.load_tests = LoadTests()
        self.system = System(redis_name, webui_name)
        self.worker_totals = WorkerTotals()
        self._marks = Marks()
        self._batch_sizes = BatchSizes(self._marks)
        self._attendance = {service: Attendance(service, self._marks) for service in (*SERVICES, "worker")}
        self._waits = Waits(self._marks)
        self._finds = Finds()
        self._totals: dict[int, float] = {}
        self._totals_until = 0
        self._told: dict[str, Any] = {}
        self._steady_told: dict[str, Any] = {}
        self._steady_due = 0.0

    def take(self, report: Report, heard: float) -> None:
        """A report on the axis, heard at this moment of the monotonic clock; it may have been heard before."""
        if self.speed.add(report, self.timeline.now, heard):
            self.system.hear_report(heard)
            self._batch_sizes.hear(report)

    def take_view(self, worker: str, view: ReplicaSnapshot, clock: float) -> None:
        """What a worker sees of its replicas."""
        self.system.hear_view(worker, clock, view, self.speed.workers.report_interval_of(worker))

    def take_found(self, worker: str, found: NewCoins) -> None:
        """What coins a worker found."""
        self._finds.hear(worker, found, lambda at: self.timeline.place_worker_time(worker, at))

    def excuse(self, seconds: float) -> None:
        """Nobody could be heard for so many seconds up to now, for Redis was away; hold it against none."""
        self.speed.workers.excuse(seconds)
        for fleet in self.system.fleets.values():
            fleet.excuse(seconds)
        if seconds >= LEAST_GAP:
            now = self.timeline.now
            self._marks.add(Mark(now - seconds, "gap", "redis", until=now))

    def set_totals(self, buckets: dict[int, float]) -> None:
        """Take over the hour's ten-second buckets; those are whole that the speed is known for by now."""
        self._totals = buckets
        self._totals_until = (self.speed.until or 0) + self.timeline.shift_s
        self.worker_totals.settle(self._totals_until)

    def settle(self) -> None:
        """Decide what is known by now."""
        now, clock = self.timeline.now, time.monotonic()
        self.speed.settle(now, clock)
        self.system.settle(self.speed, self.timeline.now_us, clock)
        workers = self.speed.workers
        live = {worker: known.instance for worker, known in workers.live(clock).items()}
        self._attendance["worker"].settle(
            live, lambda worker: workers.end_of(worker, now), lambda worker: workers.end_of(worker, now)
        )
        self._waits.settle(workers.waited_for(clock))
        for service, fleet in self.system.fleets.items():
            if (present := fleet.present) is not None:
                self._attendance[service].settle({name: name for name in present}, lambda _: now, lambda _: now)

    def history(self, seconds: int) -> tuple[int, list[Point]]:
        """The resolution in seconds, and the speed over the last so many seconds: by the second while it is held so."""
        if seconds <= REPORTS_S:
            return 1, self._shown(self.speed.points(seconds))
        return BUCKET_S, totals.points(self._totals, self._totals_until, seconds)

    def history_by_worker(self, seconds: int) -> tuple[int, list[str], list[list[float]]]:
        """The same by worker: the resolution, the workers with most hashes, and their columns and the others'."""
        if seconds <= REPORTS_S:
            workers, rows = self.speed.points_by_worker(seconds)
            return 1, workers, [[row[0] + self.timeline.shift_s, *row[1:]] for row in rows]
        return BUCKET_S, *self.worker_totals.history(self._totals, self._totals_until, seconds)

    def now(self) -> float:
        """Now in Unix seconds, by Redis's clock."""
        return round(self.timeline.now + self.timeline.shift_s, 3)

    def _shown(self, points: list[Point]) -> list[Point]:
        shift = self.timeline.shift_s
        return [(second + shift, hashes) for second, hashes in points]

    def snapshot(self) -> bytes:
        """All that a page needs which knows nothing yet, as a server-sent event."""
        now = self.now()
        points = self._shown(self.speed.points(SHOWN))
        steady = self._steady_told or self._moving()
        all_there_is = {**self._figures(), **steady, "marks": self._marks.all(self.timeline.now, self.timeline.shift_s)}
        return _event("snapshot", {"now": now, **all_there_is, "shown_seconds": SHOWN, "points": points})

    def update(self) -> bytes | None:
        """What changed since the last update, as a server-sent event; None if nothing did."""
        points = self._shown(self.speed.take_changed()[-SHOWN:])
        figures = self._figures()
        changed = self._take_moved()
        if marks := self._marks.take_new(self.timeline.shift_s):
            changed["marks"] = marks
        if not points and not changed and figures == self._told:
            return None
        self._told = figures
        return _event("update", {"now": self.now(), **figures, **changed, "points": points})

    def _take_moved(self) -> dict[str, Any]:
        """What moved of the figures that always do: once a second, or at once when somebody came, went or fell late."""
        clock = time.monotonic()
        moving = self._moving()
        told = self._steady_told
        if told and clock < self._steady_due and shape(moving["system"]) == shape(told["system"]):
            return {}
        changed = {name: value for name, value in moving.items() if told.get(name) != value}
        if changed:
            self._steady_told = moving
            self._steady_due = clock + STEADY
        return changed

    def _moving(self) -> dict[str, Any]:
        return {
            "system": self.system.figures(redis=self.redis),
            "found": self._finds.figures(self.speed, self.timeline.shift_s),
        }

    def _figures(self) -> dict[str, Any]:
        clock = time.monotonic()
        workers = self.speed.workers
        counts = {
            "redis": self.redis,
            "hashes": self.hashes,
            "coins": self.coins,
            "load_tests": self.load_tests.figures,
        }
        if not self.redis:  # then nobody knows who is there
            return {**counts, "speed": None, "workers": None, "waits_for": [], "paces": [], "batch_sizes": []}
        current = workers.speed(clock, self.timeline.now_us)
        return {
            **counts,
            "speed": current if current is None else round(current, 4),
            "workers": workers.count(clock),
            "waits_for": sorted(workers.waited_for(clock)),
            "paces": workers.paces(clock),
            "batch_sizes": workers.batch_sizes(clock)[:MOST_BATCH_SIZES],
        }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n".encode()
