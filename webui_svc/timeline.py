"""One time axis for the reports of all workers, whatever the clocks of workers, Redis and this machine do.

A report carries its worker's clock, for its interval and for the attempt to send it, and Redis's clock for the moment
at which Redis took it. Its age on the first clock and that moment on the second place the interval, so a worker's clock
may be wrong. After each read, Redis's clock is compared with this machine's steady clock: when it steps, the axis goes
on as before, and only the labels, which are Redis's time, move. Times are microseconds unless their name says
otherwise.
"""

import time
from dataclasses import dataclass

from msgspec.structs import replace

from chassis.redis.schema import Report
from chassis.timing import steady_s

# A clock that moved by more than this was stepped; by less, it was slewed, or a reply was slow.
STEP_US = 500_000

# The most by which an offset is slewed at a time: more than clocks drift in a second, less than can be seen.
SLEW_US = 1_000

# A longer delay of a worker's reports is accepted after this number of reports in a row: its machine may have slept.
CONFIRMATIONS = 3

# A reply that took longer is no measure of small differences, because it is not known when Redis read its clock.
MAX_REPLY_US = 250_000

# People are shown times that are off by at most this much: setting them right redraws the page.
MAX_LABEL_ERROR_S = 0.75

MAX_WORKERS = 10_000


def steady_us() -> int:
    """Return the microseconds of the steady clock."""
    return round(steady_s() * 1e6)


@dataclass(slots=True)
class _WorkerClock:
    """How the clock of a worker relates to the axis, and how far its reports have come."""

    offset: int
    sequence: int
    end_us: int
    placed_end_us: int
    above: int = 0


class Timeline:
    """Places reports on an axis of microseconds that begins as Redis's Unix time and never steps."""

    def __init__(self) -> None:
        self._workers: dict[str, _WorkerClock] = {}  # the one that reported longest ago comes first
        # The axis less this machine's steady clock; until Redis is observed, the axis is this machine's Unix time.
        self._origin = round(time.time() * 1e6) - steady_us()
        # The axis less Redis's clock, which only a step changes, now and before the last look.
        self._offset = self._offset_before = 0
        self._shift_s = 0
        # When Redis's clock was read last and before that, on the axis.
        self._observed: int | None = None
        self._observed_before = 0
        self._last_redis_us = 0

    @property
    def now_us(self) -> int:
        """Now, on the axis."""
        return steady_us() + self._origin

    @property
    def now(self) -> float:
        """Now, on the axis, in seconds."""
        return self.now_us / 1e6

    @property
    def shift_s(self) -> int:
        """The whole seconds to add to the axis for Redis's Unix time, which is what people are shown."""
        return self._shift_s

    def observe(self, redis_us: int, sent_us: int) -> bool:
        """Compare Redis's clock with the axis; return whether people are to be shown other times from now on.

        The request for its time was sent at `sent_us` of the steady clock, and the reply has just arrived. Call this
        after entries were read and before they are placed. Of entries placed before the first call, only steps back are
        seen.
        """
        if self._observed is None:
            if redis_us < self._last_redis_us - STEP_US:
                self._offset += self._last_redis_us - redis_us
            self._origin = redis_us + self._offset - steady_us()
            self._observed_before = self._observed = self.now_us
            return self._label()
        self._offset_before = self._offset
        self._observed_before, self._observed = self._observed, self.now_us
        reply_us = steady_us() - sent_us
        behind_us = redis_us + self._offset - self._observed
        if abs(behind_us) > STEP_US + reply_us:
            self._offset -= behind_us
        elif reply_us <= MAX_REPLY_US:
            # The time may be later than in the reply, which took some time to arrive, but never earlier.
            self._origin += max(behind_us, -SLEW_US)
        return self._label()

    def _label(self) -> bool:
        if abs(self._offset / 1e6 + self._shift_s) <= MAX_LABEL_ERROR_S:
            return False
        self._shift_s = round(-self._offset / 1e6)
        return True

    def place(self, report: Report) -> Report | None:
        """Return the report with its interval, and the moment at which Redis took it, on the axis.

        Return None if it was placed before. A report comes again when Redis was restored from an older state: the
        worker repeats itself, and so does the stream. Then neither its number nor its time is new.
        """
        at_us = self.place_moment(report.redis_us)
        sample = at_us - report.sent_us
        clock = self._workers.pop(report.worker, None)
        if clock is None:
            clock = _WorkerClock(sample, 0, -1, -1)
        self._workers[report.worker] = clock
        if len(self._workers) > MAX_WORKERS:
            del self._workers[next(iter(self._workers))]
        if report.sequence <= clock.sequence and report.end_us <= clock.end_us:
            return None
        contiguous = report.sequence == clock.sequence + 1 and report.begin_us == clock.end_us
        if contiguous:
            self._follow(clock, sample)
        else:  # the worker's clock was set, or it is a new one
            clock.offset = sample
            clock.above = 0
        end_us = min(report.end_us + clock.offset, at_us)
        begin_us = end_us - (report.end_us - report.begin_us)
        if clock.placed_end_us < end_us and (contiguous or begin_us < clock.placed_end_us):
            begin_us = clock.placed_end_us
        clock.sequence, clock.end_us, clock.placed_end_us = report.sequence, report.end_us, end_us
        return replace(report, begin_us=begin_us, end_us=end_us, redis_us=at_us)

    def place_worker_time(self, worker: str, seconds: float) -> float:
        """Return a moment of a worker's clock, in seconds, on the axis; now at the latest."""
        clock = self._workers.get(worker)
        return self.now if clock is None else min(self.now, seconds + clock.offset / 1e6)

    def _follow(self, clock: _WorkerClock, sample: int) -> None:
        """Take the least delay for the true one: a report may wait for Redis, but none comes before it was sent."""
        clock.above = clock.above + 1 if sample > clock.offset + STEP_US else 0
        if clock.above >= CONFIRMATIONS:
            clock.offset, clock.above = sample, 0
        else:
            clock.offset = min(sample, clock.offset + SLEW_US)

    def place_moment(self, redis_us: int) -> int:
        """Return a moment of Redis's clock, at which an entry was written, on the axis."""
        if self._observed is None:
            if redis_us < self._last_redis_us - STEP_US:
                self._offset += self._last_redis_us - redis_us
            self._last_redis_us = redis_us
            return redis_us + self._offset
        now_us = self.now_us
        # What was written just before the clock was set has still the time of before.
        for offset in (self._offset, self._offset_before):
            if self._observed_before - 2 * STEP_US <= redis_us + offset <= now_us + STEP_US:
                return min(redis_us + offset, now_us)
        return min(redis_us + self._offset, now_us)
