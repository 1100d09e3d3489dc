"""An open loop: batches are sent when a rate schedule says, whether those before them have a response or not.

A closed loop, which waits for a response before it sends again, sends less while a server stalls, and so measures few
of the waits that the stall causes: "coordinated omission" (Gil Tene, "How NOT to Measure Latency", 2013). Here a
batch's latency runs from the moment it was due, as in his wrk2.
"""

import asyncio
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from chassis.timing import TIMER_SLACK_S
from load_test.measurement import Latencies
from worker_svc.pipeline import Pipeline

# Per second, far more than any pipeline reaches.
MAX_RATE = 1e9

RATE = "a rate per second, and not always 0: 10000, or 1000,5000,20000 for steps, or 1000..50000 for a line"

# The number of waits that are returned one by one when the time is up; of more, each stands for several.
MAX_WAITS = 10_000


class Schedule:
    """The times at which hashes are due: the inverse of the rate's integral."""

    def __init__(self, segments: Sequence[tuple[float, float, float]]) -> None:
        """In each segment of (seconds, first, last), the rate goes from first to last, in hashes/s, in a line."""
        self._segments = segments
        self.hashes = sum(seconds * (first + last) / 2 for seconds, first, last in segments)

    def due(self, hashes: float) -> float:
        """Return the seconds from the start until this number of hashes is due, infinite beyond the last one."""
        began = 0.0
        for seconds, first, last in self._segments:
            within = seconds * (first + last) / 2
            if hashes < within:
                # The root of first·t + slope/2·t² = hashes, in the form that also holds for a slope of 0.
                slope = (last - first) / seconds
                divisor = first + math.sqrt(max(first**2 + 2 * slope * hashes, 0))
                return began + (2 * hashes / divisor if divisor else 0.0)
            hashes -= within
            began += seconds
        return math.inf


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over time: as it was given, and its values at both ends of equally long parts of a run."""

    text: str
    parts: tuple[tuple[float, float], ...]
    # Of batches rather than hashes.
    of_batches: bool = False

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read `10000` (constant), `1000,5000,20000` (steps) or `1000..50000` (a line), or a mixture.

        Raises ValueError for anything else.
        """
        parts = []
        for part in text.split(","):
            first, dots, last = part.partition("..")
            parts.append((float(first), float(last if dots else first)))
        rates = [rate for part in parts for rate in part]
        if not any(rates) or not all(0 <= rate <= MAX_RATE for rate in rates):
            raise ValueError
        return cls(text.replace(" ", ""), tuple(parts))

    @classmethod
    def parse_batches(cls, text: str) -> "Rate":
        """Read the same, in batches. Raises ValueError."""
        rate = cls.parse(text)
        return cls(f"{rate.text} batches", rate.parts, of_batches=True)

    def hashes(self, batch_size: int) -> "Rate":
        """Return the rate in hashes."""
        factor = batch_size if self.of_batches else 1
        return Rate(self.text, tuple((factor * first, factor * last) for first, last in self.parts))

    @property
    def mean(self) -> float:
        """The mean over a run."""
        return sum(first + last for first, last in self.parts) / 2 / len(self.parts)

    def schedule(self, warm_up: float, duration: float) -> Schedule:
        """Return the schedule of a run: the warm-up at the first rate, then all parts, in `duration` seconds."""
        first, _ = self.parts[0]
        return Schedule([(warm_up, first, first), *((duration / len(self.parts), *part) for part in self.parts)])


class OpenLoop:
    """Begins a pipeline's batches on schedule; those that find the window full begin as soon as it has room."""

    def __init__(self, pipeline: Pipeline, schedule: Schedule) -> None:
        # From when a batch was due until it was sent.
        self.lateness = Latencies()
        self._pipeline = pipeline
        self._schedule = schedule
        self._loop = asyncio.get_running_loop()
        self._started = 0.0
        self._begun = 0
        # When the next batch is due, and whether it waits for room in the window.
        self._next = math.inf
        self._blocked = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin the first batch; the schedule runs from now."""
        self._started = self._loop.time()
        self._next = self._started + self._due(0)
        self._proceed()

    def batch_counted(self) -> None:
        """Begin the batches that are due and found the window full."""
        if self._blocked:
            self._proceed()

    def _proceed(self) -> None:
        """Begin the batches that are due, as far as the window has room, and set a timer for the next one."""
        now = self._loop.time()
        while self._next - TIMER_SLACK_S <= now:
            self._blocked = not self._pipeline.has_room
            if self._blocked:
                return
            # A timer may be a little early; such a batch has not waited before it was sent.
            due = min(self._next, now)
            self.lateness.record(now - due)
            self._begun += 1
            self._next = self._started + self._due(self._begun)
            self._pipeline.begin(due)
            now = self._loop.time()
        self._blocked = False
        if self._next < math.inf:
            self._timer = self._loop.call_at(self._next - TIMER_SLACK_S, self._proceed)

    def _due(self, batch: int) -> float:
        return self._schedule.due(batch * self._pipeline.batch_size)

    def stop(self) -> None:
        """Begin no more batches."""
        self._next = math.inf
        self._blocked = False
        if self._timer is not None:
            self._timer.cancel()

    def waits(self, since: float) -> list[tuple[float, int]]:
        """Return the waits of the batches that are due and not begun, with their numbers.

        A wait in seconds is a lower bound of such a batch's latency. Batches that were due before `since`, in seconds
        from the start, are left out.
        """
        elapsed = self._loop.time() - self._started
        batches = range(math.ceil(self._schedule.hashes / self._pipeline.batch_size))
        first, last = (bisect_left(batches, end, key=self._due) for end in (since, elapsed))
        waiting = range(max(self._begun, first), last)
        step = max(len(waiting) // MAX_WAITS, 1)
        return [(elapsed - self._due(batch), min(step, last - batch)) for batch in waiting[::step]]
