from collections import deque
from dataclasses import dataclass, field

from chassis.redis.schema import REPORTS_S, Report
from chassis.settings import Pace

SILENT_INTERVALS = 3
"""Report intervals without a report after which a worker is gone."""

LEAST_SILENCE = 3.0
"""Seconds before which no worker is, however often it means to report: a report may have to wait."""

MAX_LAG_US = 120_000_000
"""How far behind the others a worker is still waited for. Twice what a clock may be ahead, so that one worker with a
wrong clock holds up nobody's curve, and nobody else's clock outruns a worker that is merely slow."""

GONE_LISTED = 10.0
"""Seconds for which a worker, or another replica, is still listed after it went."""

MAX_KNOWN = 10_000
"""Workers remembered, those heard longest ago forgotten first."""


# The current speed counts hashes over this time: long enough that 3.33 stays 3.33, short enough to see a change.
CURRENT_S = 5

# A worker must have worked this long before it has a current speed.
MIN_KNOWN_S = 1.0

# A speed is never shown that is older than so many report intervals, or than this time, for reading takes time, too.
CURRENT_INTERVALS = 2
MIN_CURRENT_S = 2.0


# What a worker counted in five seconds comes with fewer reports, however short its report interval is.
MAX_COUNTED = 256


@dataclass(slots=True)
class Worker:
    """What a worker's last report says, and when it was heard. Moments in microseconds are on the time axis."""

    instance: str
    sequence: int
    end_us: int
    batch_size: int
    pace: Pace
    report_interval: float
    """Seconds."""
    heard: float
    since_us: int
    """When its work began, as far as it is known."""
    known_us: int
    """The moment up to which it is known what was counted."""
    stalled: bool = False
    """Whether the last report had no batch."""
    waits_for: str = ""
    reported_us: int = 0
    """When Redis took the last report."""
    counted: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=MAX_COUNTED))
    """The hashes counted in the last seconds: from, until, how many."""

    def count(self, hashes: int, begin_us: int, end_us: int) -> None:
        """Note hashes that were counted in this time."""
        if not hashes:
            return
        self.counted.append((min(begin_us, end_us - 1), end_us, hashes))
        while self.counted[0][1] < end_us - CURRENT_S * 1_000_000:
            self.counted.popleft()

    def speed(self, now_us: int) -> float | None:
        """Return the hashes a second that were counted in the last five seconds; None while too little is known.

        They are the last five seconds that are known, and at most two report intervals old. After a report without a
        batch they are the last five seconds up to now.
        """
        longest_us = round(1e6 * max(MIN_CURRENT_S, CURRENT_INTERVALS * self.report_interval))
        end_us = now_us if self.stalled else max(self.end_us, now_us - longest_us)
        begin_us = max(self.since_us, end_us - CURRENT_S * 1_000_000)
        if end_us - begin_us < MIN_KNOWN_S * 1e6:
            return 0.0 if self.stalled else None
        hashes = 0.0
        for begin, end, count in self.counted:
            if end > begin_us:
                hashes += count * (end - max(begin, begin_us)) / (end - begin)
        return hashes * 1e6 / (end_us - begin_us)

    def is_live(self, now: float) -> bool:
        """Whether it is there."""
        return now - self.heard < max(LEAST_SILENCE, SILENT_INTERVALS * self.report_interval)


class Workers:
    """Who reports, and how far each has come. `now` and `heard` are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._known: dict[str, Worker] = {}  # the one heard longest ago comes first

    def __contains__(self, worker: str) -> bool:
        return worker in self._known

    def end_of(self, worker: str, otherwise: float) -> float:
        """The end of a worker's last report in seconds of the time axis, if it is remembered."""
        known = self._known.get(worker)
        return known.end_us / 1e6 if known else otherwise

    def report_interval_of(self, worker: str) -> float:
        """Seconds between a worker's reports; 0 for one that is not remembered."""
        known = self._known.get(worker)
        return known.report_interval if known else 0.0

    def hear(self, report: Report, heard: float) -> bool:
        """Note a report; False if it was noted before.

        A report comes again when Redis was restored from an older state: the worker repeats itself, and so does the
        stream. It is one heard before when neither its number nor its time is new.
        """
        known = self._known.pop(report.worker, None)
        if known and report.sequence <= known.sequence and report.end_us <= known.end_us:
            known.heard = max(known.heard, heard)
            self._known[report.worker] = known
            return False
        interval_us = report.report_interval_us
        worker = Worker(
            instance=report.instance,
            sequence=report.sequence,
            end_us=report.end_us,
            batch_size=report.batch_size,
            pace=report.pace,
            report_interval=interval_us / 1e6,
            heard=heard,
            since_us=report.begin_us,
            known_us=report.end_us,
            stalled=bool(report.stalled_since_us),
            waits_for=report.waits_for,
            reported_us=report.redis_us,
        )
        if worker.stalled:
            # A batch may be in flight that is counted in a moment, so the last interval stays open.
            worker.known_us = max(report.end_us, report.redis_us - interval_us)
        begin_us = report.begin_us
        if known:
            worker.heard = max(known.heard, heard)
            worker.since_us, worker.counted = known.since_us, known.counted
            worker.known_us = max(worker.known_us, known.known_us)
            if known.stalled:  # what is counted now was not counted before that report
                begin_us = max(begin_us, known.reported_us)
        worker.count(report.hashes, begin_us, report.end_us)
        self._known[report.worker] = worker
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return True

    def reported_until(self, now: float) -> int | None:
        """The moment up to which every live worker has reported, in microseconds; None when nobody lives."""
        ends = [worker.known_us for worker in self._live(now)]
        if not ends:
            return None
        newest = max(ends)
        return min(end for end in ends if newest - end <= MAX_LAG_US)

    def live(self, now: float) -> dict[str, Worker]:
        """Those that are there, by id."""
        return {name: worker for name, worker in self._known.items() if worker.is_live(now)}

    def gone(self, now: float) -> dict[str, Worker]:
        """Those that went a few seconds ago, by id."""
        return {
            name: worker
            for name, worker in self._known.items()
            if not worker.is_live(now) and worker.is_live(now - GONE_LISTED)
        }

    def is_live(self, worker: str, now: float) -> bool:
        """Whether that one is there."""
        known = self._known.get(worker)
        return known is not None and known.is_live(now)

    def count(self, now: float) -> int:
        """How many live."""
        return len(self._live(now))

    def paces(self, now: float) -> list[str]:
        """Their paces; more than one when they differ."""
        return sorted({worker.pace.value for worker in self._live(now)})

    def speed(self, now: float, now_us: int) -> float | None:
        """Return what they count together in a second; 0 when there are none, None while it is known of none."""
        speeds = [worker.speed(now_us) for worker in self._live(now)]
        known = [speed for speed in speeds if speed is not None]
        return sum(known) if known or not speeds else None

    def waited_for(self, now: float) -> dict[str, float]:
        """Return the services that workers wait for, and since when, in seconds of the time axis."""
        since: dict[str, float] = {}
        for worker in self._live(now):
            if worker.waits_for:
                since[worker.waits_for] = min(worker.end_us / 1e6, since.get(worker.waits_for, float("inf")))
        return since

    def batch_sizes(self, now: float) -> list[int]:
        """Their batch sizes; more than one when they differ."""
        return sorted({worker.batch_size for worker in self._live(now)})

    def excuse(self, seconds: float) -> None:
        """Don't hold a silence of so many seconds against anyone, for it was Redis that was away."""
        for worker in self._known.values():
            worker.heard += seconds

    def forget_gone(self, now: float) -> None:
        """Forget those whose reports have left the stream: none of them can come again."""
        for name in [name for name, worker in self._known.items() if now - worker.heard > REPORTS_S]:
            del self._known[name]

    def _live(self, now: float) -> list[Worker]:
        return list(self.live(now).values())
