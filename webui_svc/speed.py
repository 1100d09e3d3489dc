"""The speed over time, from the intervals that the workers report.

It is known up to the moment that all live workers have reported, and only whole seconds are shown, so the curve has no
ragged end. A worker that finishes no batch reports that: time without work is shown as 0 while it passes, and is shown
again when the batch that was in flight is counted after all. So is what a late report changes, from a worker that is
new or was thought gone. All times are on the timeline's axis.
"""

from chassis.redis.schema import REPORTS_S, Report
from webui_svc.buckets import Buckets
from webui_svc.worker_speeds import WorkerSpeeds, most, with_others
from webui_svc.workers import LEAST_SILENCE, Workers

Point = tuple[int, float]
"""The second that begins then, and hashes in it."""


class Speed:
    """Hashes in each of the last 15 minutes' seconds. `now` is on the axis, `clock` is this process's monotonic one."""

    def __init__(self) -> None:
        self.workers = Workers()
        self.by_worker = WorkerSpeeds()
        self.coins = Buckets()
        """Coins by the second, as far as hashes are."""
        self._buckets = Buckets()
        self._first: int | None = None  # the first second that anybody reported
        self._until: int | None = None  # the second that is not yet complete
        self._told: int | None = None  # the first second that `take_changed` has not returned
        self._late: set[int] = set()

    @property
    def until(self) -> int | None:
        """The moment up to which the speed is known."""
        return self._until

    def add(self, report: Report, now: float, heard: float) -> bool:
        """Count a report, unless it was counted before; whether it was not."""
        if not self.workers.hear(report, heard):
            return False
        floor = int(now) - REPORTS_S
        if self._until is not None:
            floor = max(floor, self._until - REPORTS_S)
        changed = self._buckets.spread(report.hashes, report.begin_us, report.end_us, floor)
        self.by_worker.add(report, floor)
        self.coins.spread(report.coins, report.begin_us, report.end_us, floor)
        if changed:
            self._first = changed[0] if self._first is None else min(self._first, changed[0])
        if report.hashes and self._told is not None:
            self._late.update(range(changed.start, min(changed.stop, self._told)))
        return True

    def settle(self, now: float, clock: float) -> None:
        """Decide how far the speed is known by now, and forget what is too old to show."""
        reported_us = self.workers.reported_until(clock)
        until = int(now - LEAST_SILENCE) if reported_us is None else reported_us // 1_000_000
        self._until = until if self._until is None else max(self._until, until)
        for buckets in (self._buckets, self.by_worker, self.coins):
            buckets.forget_before(self._until - REPORTS_S)
        self.workers.forget_gone(clock)

    def points(self, seconds: int) -> list[Point]:
        """The last so many seconds known, oldest first; fewer when it began later."""
        if self._until is None:
            return []
        return self._between(self._until - seconds, self._until)

    def points_by_worker(self, seconds: int) -> tuple[list[str], list[list[float]]]:
        """The workers with most hashes in that time, and for each of the points their hashes and the others'."""
        points = self.points(seconds)
        if not points:
            return [], []
        begin, end = points[0][0], points[-1][0] + 1
        workers = most(self.by_worker.sums(begin, end))
        columns = [self.by_worker.column(worker, begin, end) for worker in workers]
        totals = self._buckets.between(begin, end)
        rows = zip(range(begin, end), totals, *columns, strict=True)
        return workers, [with_others(second, total, list(hashes)) for second, total, *hashes in rows]

    def take_changed(self) -> list[Point]:
        """The seconds that were completed or changed since the last call."""
        if self._until is None:
            return []
        new_from = self._until - REPORTS_S if self._told is None else self._told
        late = [(second, self._hashes(second)) for second in sorted(self._late) if second >= self._until - REPORTS_S]
        self._late.clear()
        self._told = self._until
        return [*late, *self._between(new_from, self._until)]

    def _between(self, begin: int, end: int) -> list[Point]:
        if self._first is None:
            return []
        begin = max(begin, self._first, end - REPORTS_S)
        return [(begin + offset, round(hashes, 4)) for offset, hashes in enumerate(self._buckets.between(begin, end))]

    def _hashes(self, second: int) -> float:
        return round(self._buckets[second], 4)
