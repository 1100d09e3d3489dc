"""The speed, now and over time, from the intervals that the workers report.

The speed over time is known up to the moment that all live workers have reported, and only whole seconds are shown, so
the curve has no ragged end. Time without work is shown as 0 while it passes, and is shown again when the batch that was
in flight is counted after all. So is what a late report changes, from a worker that is new or was thought gone.

Times are on the timeline's axis, `clock` and `seen` on this process's monotonic clock; both in seconds, but for names
that end in `_us`.
"""

import heapq
import re
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil

from chassis.redis.schema import BUCKET_S, BUCKETS_S, REPORTS_S, Report, instance_of

# A second, and the hashes in it or, in the history of an hour, the hashes per second of the bucket that begins then.
# Without a worker in that second there are None.
Point = tuple[int, float | None]

_DIGITS = re.compile(r"[0-9]{1,18}")

# A worker counts as gone after 3 intervals without a report, but not before 3 s, because reports may be delayed.
SILENT_INTERVALS = 3
MIN_SILENCE_S = 3.0

# The curve waits for workers that are up to this far behind the others: twice what a clock may be ahead. One worker
# with a wrong clock must not hold up the curve, and a slow worker must not be dropped because another clock is ahead.
MAX_LAG_US = 120_000_000

# The current speed counts hashes over this time: long enough that 3.33 stays 3.33, and short enough that a page shows 0
# within five seconds after the last batch.
CURRENT_S = 4

# A worker must have worked this long before it has a current speed.
MIN_WORKED_S = 1.0

# The current speed is at most two report intervals old, and at least 2 s, to allow for the reader's delay.
CURRENT_INTERVALS = 2
MIN_CURRENT_S = 2.0

# More entries than a worker can report in this time.
MAX_COUNTED = 256

# Workers that are remembered.
MAX_WORKERS = 10_000
# Workers with buckets of the last hour.
MAX_HOURS = 1_000
# Workers with a curve of their own.
SHOWN_WORKERS = 8

# Seconds per chunk: an array uses 8 bytes per second, a dict 100.
CHUNK_S = 64


@dataclass(slots=True)
class Worker:
    """A worker's last report, on the axis, and what it counted lately."""

    report: Report
    # The time at which the last report was read.
    seen: float
    # The time at which its work began, as far as it is known.
    since_us: int
    # The time up to which its counts are known.
    known_us: int
    # Whether it has counted a batch.
    has_counted: bool
    # The hashes counted in the last seconds: begin, end, count.
    counted: deque[tuple[int, int, float]] = field(default_factory=lambda: deque(maxlen=MAX_COUNTED))

    @property
    def report_interval_s(self) -> float:
        """The interval of its reports."""
        return self.report.report_interval_us / 1e6

    @property
    def counted_s(self) -> float:
        """The seconds of the last CURRENT_S in which it counted."""
        return sum(end - begin for begin, end, _ in self.counted) / 1e6

    def is_live(self, clock: float) -> bool:
        """Return whether it has reported recently."""
        return clock - self.seen < max(MIN_SILENCE_S, SILENT_INTERVALS * self.report_interval_s)

    def count(self, hashes: float, begin_us: int, end_us: int) -> None:
        """Add hashes that were counted in this interval."""
        if not hashes:
            return
        self.counted.append((min(begin_us, end_us - 1), end_us, hashes))
        while self.counted[0][1] < end_us - CURRENT_S * 1_000_000:
            self.counted.popleft()

    def current(self, now_us: int, *, live: bool = True) -> tuple[float, float]:
        """Return the hashes of the last CURRENT_S seconds, and how many of these it has worked.

        They end with the last report, at most two report intervals ago, or now if that report has no batch or the
        worker is gone.
        """
        longest_us = round(1e6 * max(MIN_CURRENT_S, CURRENT_INTERVALS * self.report_interval_s))
        is_open = self.report.stalled_since_us or not live
        end_us = now_us if is_open else max(self.report.end_us, now_us - longest_us)
        begin_us = max(self.since_us, end_us - CURRENT_S * 1_000_000)
        hashes = 0.0
        for begin, end, count in self.counted:
            if end > begin_us:
                hashes += count * (end - max(begin, begin_us)) / (end - begin)
        return hashes, (end_us - begin_us) / 1e6

    def speed(self, now_us: int) -> float:
        """Return its hashes per second of the last CURRENT_S seconds; 0 if it has worked for less than a second."""
        hashes, seconds = self.current(now_us)
        return hashes / seconds if seconds >= MIN_WORKED_S else 0.0


def _shown_hashes(known: Worker | None, report: Report) -> float:
    """Return the hashes that are spread over the report's interval.

    Half of a worker's first batch is left out. Spread over its interval, a batch shows before it is counted, on average
    by half; workers that start together would seem to do more than a server allows.
    """
    has_counted = known.has_counted if known else report.sequence > 1
    return report.hashes if has_counted else report.hashes - min(report.hashes, report.batch_size) / 2


def _updated(known: Worker | None, report: Report, hashes: float, seen: float) -> Worker:
    """Return a worker after another report, of which these hashes are shown."""
    worker = Worker(report, seen, report.begin_us, report.end_us, has_counted=hashes > 0 or report.sequence > 1)
    if report.stalled_since_us:
        # A batch may be in flight that is counted in a moment, so the last interval stays open.
        worker.known_us = max(report.end_us, report.redis_us - report.report_interval_us)
    begin_us = report.begin_us
    if known:
        worker.seen = max(known.seen, seen)
        worker.since_us, worker.counted = known.since_us, known.counted
        worker.known_us = max(worker.known_us, known.known_us)
        worker.has_counted = hashes > 0 or known.has_counted
        if known.report.stalled_since_us:  # that report counted no batch, so these hashes are newer
            begin_us = max(begin_us, known.report.redis_us)
    worker.count(hashes, begin_us, report.end_us)
    return worker


class Buckets:
    """What was counted by the second: reported for an interval, spread evenly over it."""

    def __init__(self) -> None:
        self._chunks: dict[int, array[float]] = {}

    def __len__(self) -> int:
        """Return the number of seconds in all chunks."""
        return CHUNK_S * len(self._chunks)

    def spread(self, count: float, begin_us: int, end_us: int, floor: int) -> range:
        """Add the count of an interval, except what falls before the second `floor`; return the seconds it changed.

        The parts add up to the whole: each is the difference of two points of one straight line. An interval without
        length is a moment, and its count belongs to the second in which it lies.
        """
        first, parts = _parts(begin_us, end_us, floor)
        if count:
            for second, part in enumerate(parts, first):
                number, offset = divmod(second, CHUNK_S)
                chunk = self._chunks.get(number)
                if chunk is None:
                    chunk = self._chunks[number] = array("d", bytes(8 * CHUNK_S))
                chunk[offset] += count * part
        return range(first, first + len(parts))

    def between(self, begin: int, end: int) -> list[float]:
        """Return the counts of these seconds, in order; 0 where nothing was reported."""
        counts: list[float] = []
        while begin < end:
            chunk = self._chunks.get(begin // CHUNK_S)
            offset = begin % CHUNK_S
            taken = min(CHUNK_S - offset, end - begin)
            counts += chunk[offset : offset + taken] if chunk else [0.0] * taken
            begin += taken
        return counts

    def forget_before(self, second: int) -> None:
        """Drop the chunks that end before this second."""
        for old in [number for number in self._chunks if (number + 1) * CHUNK_S <= second]:
            del self._chunks[old]


@lru_cache(8)  # hashes and coins of a report are spread over the same interval
def _parts(begin_us: int, end_us: int, floor: int) -> tuple[int, list[float]]:
    """Return the first second from `floor` on, and the part of the interval in each second from there on."""
    first, last = max(begin_us // 1_000_000, floor), end_us // 1_000_000
    if begin_us == end_us:
        return last, [1.0] if first <= last else []
    if last * 1_000_000 == end_us:
        last -= 1  # the interval ends where that second begins
    length = end_us - begin_us
    seconds = range(first * 1_000_000, (last + 1) * 1_000_000, 1_000_000)
    return first, [(min(second + 1_000_000, end_us) - max(second, begin_us)) / length for second in seconds]


class Speed:
    """Hashes in each of the last 15 minutes' seconds, and the current speed of the workers."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}  # least recently seen first
        self.coins = Buckets()
        # The first second that is not yet complete; the speed is known up to it.
        self.complete_until: int | None = None
        self._hashes = Buckets()
        self._by_worker: dict[str, Buckets] = {}
        self._covered: set[int] = set()  # seconds in which a worker was there
        self._first: int | None = None  # the first second that was reported
        self._published: int | None = None  # the first second that `take_changed` has not returned
        self._revised: set[int] = set()

    def ingest(self, report: Report, now: float, seen: float) -> None:
        """Count a report that was read at `seen`."""
        known = self.workers.pop(report.worker, None)
        hashes = _shown_hashes(known, report)
        self.workers[report.worker] = _updated(known, report, hashes, seen)
        if len(self.workers) > MAX_WORKERS:
            del self.workers[next(iter(self.workers))]
        floor = int(now) - REPORTS_S
        if self.complete_until is not None:
            floor = max(floor, self.complete_until - REPORTS_S)
        interval = report.begin_us, report.end_us, floor
        changed = self._hashes.spread(hashes, *interval)
        self.coins.spread(report.coins, *interval)
        if hashes:
            self._by_worker.setdefault(report.worker, Buckets()).spread(hashes, *interval)
        # A report without a batch covers the time since its last one, as far as that is known.
        known_s = -(-self.workers[report.worker].known_us // 1_000_000)
        present = {*changed, *range(max(floor, report.end_us // 1_000_000), known_s)} - self._covered
        self._covered |= present
        if self._published is not None:
            self._revised.update(second for second in present if second < self._published)
        if changed:
            self._first = changed[0] if self._first is None else min(self._first, changed[0])
        if report.hashes and self._published is not None:
            self._revised.update(range(changed.start, min(changed.stop, self._published)))

    def finalize(self, now: float, clock: float) -> None:
        """Compute up to which second the speed is known, and forget what is too old to show."""
        ends = [worker.known_us for worker in self.live(clock).values()]
        newest = max(ends, default=0)
        reported_us = min((end for end in ends if newest - end <= MAX_LAG_US), default=None)
        until = int(now - MIN_SILENCE_S) if reported_us is None else reported_us // 1_000_000
        self.complete_until = until if self.complete_until is None else max(self.complete_until, until)
        for buckets in (self._hashes, self.coins, *self._by_worker.values()):
            buckets.forget_before(self.complete_until - REPORTS_S)
        self._by_worker = {worker: buckets for worker, buckets in self._by_worker.items() if len(buckets)}
        self._covered = {second for second in self._covered if second >= self.complete_until - REPORTS_S}
        self.workers = {name: worker for name, worker in self.workers.items() if clock - worker.seen <= REPORTS_S}

    def ignore_gap(self, seconds: float) -> None:
        """Do not count these seconds, in which Redis was unreachable, as silence of workers."""
        for worker in self.workers.values():
            worker.seen += seconds

    def live(self, clock: float) -> dict[str, Worker]:
        """Return the workers that report, by id."""
        return {name: worker for name, worker in self.workers.items() if worker.is_live(clock)}

    def is_stalled(self, clock: float) -> bool:
        """Return whether a live worker counted no batch in its last report."""
        return any(worker.report.stalled_since_us for worker in self.live(clock).values())

    def current(self, clock: float, now_us: int) -> float | None:
        """Return the speed of the last CURRENT_S seconds: 0 without a live worker, None in the first second of all."""
        live = self.live(clock)
        if not live:
            return 0.0
        recent = self.live(clock - CURRENT_S)
        counts = {name: worker.current(now_us, live=name in live) for name, worker in recent.items()}
        seconds = max(worked for name, (hashes, worked) in counts.items() if hashes or name in live)
        return sum(hashes for hashes, _ in counts.values()) / seconds if seconds >= MIN_WORKED_S else None

    def points(self, seconds: int) -> list[Point]:
        """Return the last seconds that are known, the oldest first; fewer than requested if work began later."""
        return [] if self.complete_until is None else self._between(self.complete_until - seconds, self.complete_until)

    def points_by_worker(self, seconds: int, live: AbstractSet[str]) -> tuple[list[str], list[list[float | None]]]:
        """Return the workers to show by name, and for each of the points their hashes and the others'."""
        points = self.points(seconds)
        if not points:
            return [], []
        begin, end = points[0][0], points[-1][0] + 1
        names, columns = _named({worker: each.between(begin, end) for worker, each in self._by_worker.items()}, live)
        return names, [_with_others(second, total, row) for (second, total), *row in zip(points, *columns, strict=True)]

    def hashes_by_worker(self, begin: int, end: int) -> dict[str, float]:
        """Return the hashes between two seconds by worker, without workers that have none."""
        sums = {worker: sum(buckets.between(begin, end)) for worker, buckets in self._by_worker.items()}
        return {worker: hashes for worker, hashes in sums.items() if hashes}

    def take_changed(self) -> list[Point]:
        """Return the seconds that were completed or changed since the last call."""
        if self.complete_until is None:
            return []
        new_from = self.complete_until - REPORTS_S if self._published is None else self._published
        kept = [second for second in sorted(self._revised) if second >= self.complete_until - REPORTS_S]
        late = [(second, self._hashes_in(second, self._hashes.between(second, second + 1)[0])) for second in kept]
        self._revised.clear()
        self._published = self.complete_until
        return [*late, *self._between(new_from, self.complete_until)]

    def _between(self, begin: int, end: int) -> list[Point]:
        if self._first is None:
            return []
        begin = max(begin, self._first, end - REPORTS_S)
        hashes = self._hashes.between(begin, end)
        return [(second, self._hashes_in(second, each)) for second, each in enumerate(hashes, begin)]

    def _hashes_in(self, second: int, hashes: float) -> float | None:
        return round(hashes, 4) if second in self._covered else None


class HourlyHistory:
    """Hashes in ten-second buckets over the last hour, of all workers and of each, as Redis has them.

    Times are Redis's, and a bucket that is missing is a time without a worker.
    """

    def __init__(self) -> None:
        self._totals: dict[int, float] = {}
        self._by_worker: dict[str, dict[int, float]] = {}
        self._until = 0

    def set_totals(self, totals: dict[int, float], until: int) -> None:
        """Replace the buckets of all workers; those that end by `until` are complete. Drop older ones than an hour."""
        self._totals, self._until = totals, until
        oldest = until - BUCKETS_S - BUCKET_S
        for worker, buckets in list(self._by_worker.items()):
            for second in [second for second in buckets if second < oldest]:
                del buckets[second]
            if not buckets:
                del self._by_worker[worker]

    def update_worker(self, worker: str, buckets: Mapping[int, float]) -> None:
        """Store buckets of one worker, all or the newest ones."""
        if buckets and (worker in self._by_worker or len(self._by_worker) < MAX_HOURS):
            self._by_worker.setdefault(worker, {}).update(buckets)

    def forget_workers(self) -> None:
        """Drop the buckets of single workers."""
        self._by_worker.clear()

    def points(self, seconds: int) -> list[Point]:
        """Return the hashes per second in each complete bucket of the last seconds, the oldest first."""
        hashes = [(second, self._totals.get(second)) for second in self._whole(seconds)]
        return [(second, None if each is None else round(each / BUCKET_S, 4)) for second, each in hashes]

    def points_by_worker(self, seconds: int, live: AbstractSet[str]) -> tuple[list[str], list[list[float | None]]]:
        """Return the workers to show by name, and for each of the points their hashes per second and the others'."""
        points = self.points(seconds)
        speeds = {
            worker: [buckets.get(second, 0.0) / BUCKET_S for second, _ in points]
            for worker, buckets in self._by_worker.items()
        }
        names, columns = _named(speeds, live)
        return names, [_with_others(second, total, row) for (second, total), *row in zip(points, *columns, strict=True)]

    def _whole(self, seconds: int) -> range:
        end = self._until // BUCKET_S * BUCKET_S
        begin = end - ceil(seconds / BUCKET_S) * BUCKET_S
        return range(min((each for each in self._totals if begin <= each < end), default=end), end, BUCKET_S)


def _named(columns: Mapping[str, Sequence[float]], live: AbstractSet[str]) -> tuple[list[str], list[list[float]]]:
    """Return the names of the workers to show, in their order, and the hashes of all processes under each.

    They are those that are live first, then those with most hashes.
    """
    sums: dict[str, list[float]] = {}
    for worker, hashes in columns.items():
        name = instance_of(worker)
        sums[name] = [a + b for a, b in zip(sums[name], hashes, strict=True)] if name in sums else list(hashes)
    totals = {name: total for name, hashes in sums.items() if (total := sum(hashes))}
    shown = heapq.nsmallest(SHOWN_WORKERS, totals, key=lambda name: (name not in live, -totals[name], name))
    names = sorted(shown, key=natural)
    return names, [sums[name] for name in names]


def natural(name: str) -> str:
    """Return a key by which rng-10 comes after rng-9."""
    return _DIGITS.sub(lambda digits: digits[0].zfill(18), name)


def _with_others(second: int, total: float | None, row: list[float]) -> list[float | None]:
    """Return a row with the shown workers' values and the sum of all others."""
    if total is None:
        return [second, *(None for _ in row), None]
    return [second, *(round(hashes, 4) for hashes in row), round(max(total - sum(row), 0.0), 4)]
