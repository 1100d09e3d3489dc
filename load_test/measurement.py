"""What one run of a point measures: throughput, latency, CPU time and failures."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from load_test.options import SERVICES
from worker_svc.batch import Batch

# The name of a batch's latency over both stages, beside the stages' own names.
TOTAL = "total"

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


class Latencies:
    """A histogram of latencies in bounded space: it keeps four significant digits of each.

    HdrHistogram's Python package has no wheel for Linux on arm64.
    """

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()
        self._max = 0.0
        self.count = 0

    def record(self, seconds: float, times: int = 1) -> None:
        """Count a latency, or several equal ones."""
        self._counts[float(f"{seconds:.4g}")] += times
        self.count += times
        self._max = max(self._max, seconds)

    def quantile(self, part: float) -> float:
        """Return the latency, in seconds, that this part (0 to 1) of all does not exceed: the nearest rank."""
        rank = max(math.ceil(part * self.count), 1)
        for seconds, count in sorted(self._counts.items()):
            rank -= count
            if rank <= 0:
                return min(seconds, self._max)
        return 0.0

    def quantiles(self) -> Quantiles:
        """Return the quantiles of a report."""
        p50, p90, p99, p999 = map(self.quantile, (0.5, 0.9, 0.99, 0.999))
        return Quantiles(p50, p90, p99, p999, self._max)


class Recorder:
    """Counts the batches that are done, and their latencies, between begin() and end().

    Times are of the event loop's clock, in seconds. As in the worker's reports, the time runs from the last batch done
    before the beginning to the last one before the end: so a few large batches give the true speed as well as many
    small ones.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.hashes = 0
        self.seconds = 0.0
        # The time at which the latest batch was done, 0 before the first.
        self.last_done = 0.0
        self.latencies = {name: Latencies() for name in (*SERVICES, TOTAL)}
        self._due_since = -math.inf
        self._due_until = math.inf
        self._began = 0.0
        self._counting = True

    def begin(self, now: float, *, due_since: float = -math.inf) -> None:
        """Start to count. Total latencies are those of batches that were due, or begun, since `due_since`."""
        self.latencies = {name: Latencies() for name in self.latencies}
        self.batches = self.hashes = 0
        self._due_since = due_since
        self._began = self.last_done or now

    def end(self, now: float, *, due_until: float) -> None:
        """Stop to count, except for total latencies of batches that were due before `due_until`."""
        self._counting = False
        self._due_until = due_until
        stalled = now - self.last_done > STALLED_PART * (now - self._began)
        self.seconds = (now if stalled else self.last_done) - self._began

    def done(self, batch: Batch, now: float) -> None:
        """Count a batch that has passed both stages."""
        self.last_done = now
        if self._counting:
            self.batches += 1
            self.hashes += batch.count
        if self._due_since <= batch.begun < self._due_until:
            self.latencies[TOTAL].record(now - batch.begun)

    def stage_done(self, name: str, seconds: float) -> None:
        """Count the latency of a batch in one stage."""
        if self._counting:
            self.latencies[name].record(seconds)

    def quantiles(self) -> dict[str, Quantiles]:
        """Return the latencies of each stage and in total."""
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
