"""What one run of a point measures: throughput, latency, CPU time and failures."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from worker_svc.batch import Batch

# The two stages of a batch, named by the services that serve them.
SERVICES = ("rng", "hasher")

# The name of a batch's latency over both stages, beside the stages' own names.
TOTAL = "total"

# The shortest latency that differs from 0.
SHORTEST_S = 1e-13

MAX_NEW = 100

# The buckets of a histogram per decade; their bounds are 25 to 27 % apart.
BUCKETS_PER_DECADE = 10

# The end of a measurement counts as a stall when no batch was done in this part of it.
STALLED_PART = 0.1


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Latencies in seconds; 0 where there are none."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0


# The fields of Quantiles by the names that people know.
QUANTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "max": "max"}


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a run: its speed, and the latencies of what was done in it, 0 if that is nothing."""

    hashes_per_second: float
    p50: float
    p99: float


def _bucket(seconds: float) -> int:
    return math.floor(1_000 * math.log(max(seconds, SHORTEST_S)))


class Latencies:
    """A histogram of latencies in bounded space: logarithmic buckets, each 0.1 % wide.

    HdrHistogram's Python package has no wheel for Linux on arm64.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.max = 0.0
        # Those that are in no bucket yet. A hundred at once take a fraction of the time that each takes by itself.
        self._new: list[float] = []

    @property
    def count(self) -> int:
        """How many were recorded."""
        return self.counts.total() + len(self._new)

    def record(self, seconds: float) -> None:
        """Count a latency."""
        self._new.append(seconds)
        if len(self._new) == MAX_NEW:
            self.fold()

    def record_equal(self, seconds: float, times: int) -> None:
        """Count several equal latencies."""
        self.counts[_bucket(seconds)] += times
        self.max = max(self.max, seconds)

    def fold(self) -> None:
        """Put all latencies into their buckets."""
        self.counts.update(map(_bucket, self._new))
        self.max = max((self.max, *self._new))
        self._new.clear()

    def add(self, other: "Latencies") -> None:
        """Count all latencies of another histogram."""
        other.fold()
        self.counts.update(other.counts)
        self.max = max(self.max, other.max)

    def quantile(self, part: float) -> float:
        """Return the latency, in seconds, that this part (0 to 1) of all does not exceed: the nearest rank."""
        self.fold()
        rank = max(math.ceil(part * self.count), 1)
        for bucket, count in sorted(self.counts.items()):
            rank -= count
            if rank <= 0:
                return min(math.exp((bucket + 0.5) / 1_000), self.max)
        return 0.0

    def quantiles(self) -> Quantiles:
        """Return the quantiles of a report."""
        p50, p90, p99, p999 = map(self.quantile, (0.5, 0.9, 0.99, 0.999))
        return Quantiles(p50, p90, p99, p999, self.max)

    def buckets(self) -> list[tuple[float, int]]:
        """Return how many latencies are in each bucket of a coarser scale, by its upper bound in seconds."""
        self.fold()
        counts: Counter[int] = Counter()
        for bucket, count in self.counts.items():
            counts[math.ceil(BUCKETS_PER_DECADE * (bucket + 0.5) / 1_000 / math.log(10))] += count
        powers = range(min(counts), max(counts) + 1) if counts else ()
        return [(float(f"{10 ** (power / BUCKETS_PER_DECADE):.3g}"), counts[power]) for power in powers]


class Recorder:
    """Counts the batches that are done, and their latencies, between begin() and end().

    Times are of the event loop's clock, in seconds. As in the worker's reports, the time runs from the last batch done
    before the beginning to the last one before the end: so a few large batches give the true speed as well as many
    small ones.
    """

    def __init__(self, limit: float = math.inf, on_limit: Callable[[], None] = lambda: None) -> None:
        """End by itself, and call `on_limit`, after this number of batches."""
        self.batches = 0
        self.hashes = 0
        self.seconds = 0.0
        # The time at which the latest batch was done, 0 before the first.
        self.last_done = 0.0
        self.latencies = {name: Latencies() for name in (*SERVICES, TOTAL)}
        # Whether the measurement has begun and not ended.
        self.counting = False
        # The seconds that are over.
        self.per_second: list[Second] = []
        self._limit = limit
        self._on_limit = on_limit
        self._due_since = -math.inf
        self._due_until = math.inf
        self._began = 0.0
        # The second under way: when it began, how long the last one is, the hashes before it, and its total latencies.
        self._second_began = math.inf
        self._last_length = 1.0
        self._hashes_before = 0
        self._latencies = Latencies()
        self._whole_seconds = math.inf

    def begin(self, now: float, duration: float, *, due_since: float = -math.inf) -> None:
        """Start to count for this time. Total latencies are those of batches that were due, or begun, since then."""
        self.latencies = {name: Latencies() for name in self.latencies}
        self._latencies = Latencies()
        self.batches = self.hashes = 0
        self._due_since = due_since
        self._second_began = now
        self._whole_seconds = duration if duration == math.inf else max(round(duration), 1)
        self._began = self.last_done or now
        self.counting = True

    def end(self, now: float, *, due_until: float) -> None:
        """Stop to count, except for total latencies of batches that were due before `due_until`."""
        if not self.counting:
            return
        self.advance(now)
        self.counting = False
        self._due_until = due_until
        stalled = now - self.last_done > STALLED_PART * (now - self._began)
        self.seconds = (now if stalled else self.last_done) - self._began
        self._last_length = now - self._second_began

    def done(self, batch: Batch, now: float) -> None:
        """Count a batch that has passed both stages."""
        self.last_done = now
        if now - self._second_began >= 1:
            self.advance(now)
        if self.counting:
            self.batches += 1
            self.hashes += batch.count
        if self._due_since <= batch.begun < self._due_until:
            self._latencies.record(now - batch.begun)
        if self.batches == self._limit and self.counting:
            self.end(now, due_until=-math.inf)
            self._on_limit()

    def stages_done(self, rng: float, hasher: float) -> None:
        """Count the latencies of a batch in its stages."""
        if self.counting:
            self.latencies["rng"].record(rng)
            self.latencies["hasher"].record(hasher)

    def without_response(self, waits: Sequence[tuple[float, int]]) -> None:
        """Count waits in seconds, which are lower bounds of latencies, and how many batches each stands for."""
        for wait, batches in waits:
            self._latencies.record_equal(wait, batches)

    def advance(self, now: float) -> None:
        """Finish the seconds that are over, but the last one."""
        while self.counting and now - self._second_began >= 1 and len(self.per_second) + 1 < self._whole_seconds:
            self._finish_second(1.0)

    def _finish_second(self, length: float) -> None:
        hashes, self._hashes_before = self.hashes - self._hashes_before, self.hashes
        p50, p99 = map(self._latencies.quantile, (0.5, 0.99))
        self.per_second.append(Second(hashes / length if length else 0.0, p50, p99))
        self.latencies[TOTAL].add(self._latencies)
        self._latencies = Latencies()
        self._second_began += 1

    def quantiles(self) -> dict[str, Quantiles]:
        """Finish the last second, and return the latencies of each stage and in total."""
        self._finish_second(self._last_length)
        return {name: latencies.quantiles() for name, latencies in self.latencies.items()}


@dataclass(frozen=True, slots=True)
class Measurement:
    """The results of one run of a point."""

    seconds: float
    hashes: int
    batches: int
    # The speed of the baseline, measured just before.
    baseline_hashes_per_second: float
    # By stage, and in total.
    latency: Mapping[str, Quantiles]
    # By process, of those on this machine.
    cpu_seconds: Mapping[str, float]
    # Broken streams and failed calls, by service and gRPC code.
    errors: Mapping[str, Mapping[str, int]]
    # Batches sent more than once: retries and hedges.
    resent: int
    # Batches that were due by the rate schedule and not sent when the time was up.
    not_begun: int
    # Batches without a response when the time to drain was up.
    unanswered: int
    # Batches per stream message, on average; None where a report has no such figure.
    batches_per_message: float = 1.0
    # From when a batch was due by the rate schedule until it was sent, in seconds; None without a schedule.
    lateness: Quantiles | None = None
    # The last one may be up to half a second longer or shorter.
    per_second: Sequence[Second] = field(default_factory=list)
    # Total latencies: the upper bound of a bucket in seconds, and how many are in it.
    histogram: Sequence[tuple[float, int]] = field(default_factory=list)

    @property
    def hashes_per_second(self) -> float:
        """The speed."""
        return self.hashes / self.seconds if self.seconds else 0.0

    @property
    def vs_baseline(self) -> float:
        """The speed over the baseline's."""
        return self.hashes_per_second / self.baseline_hashes_per_second

    @property
    def cpu_per_million(self) -> dict[str, float]:
        """CPU seconds per million hashes, by process."""
        return {name: 1e6 * seconds / self.hashes if self.hashes else 0.0 for name, seconds in self.cpu_seconds.items()}
