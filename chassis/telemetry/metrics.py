"""The metrics of every process, and the histograms that most others use.

A latency is counted in a bucket that is a quarter of a doubling wide, so a quantile that is read from the counts is
right within 9 %. The counts of several workers can be added up.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.health import Health

# The last bucket has no bound: it holds all that takes longer than 903 s.
LAST_BUCKET = 120

# The longest latency in each bucket but the last, in seconds: 1 us in the first, 19 % more in each after it.
BUCKET_BOUNDS = tuple(2 ** (index / 4) / 1e6 for index in range(LAST_BUCKET))

# Prometheus gets every fourth bound: 8 us, twice as much each time, 33.6 s.
_SHOWN_BUCKETS = range(12, 101, 4)

# A loop that is blocked for longer is noticed for certain. Half of it took 0.03 % of a core more in each process, a
# twentieth of what a process takes at the classic pace.
LAG_INTERVAL_S = 0.5


def bucket(seconds: float) -> int:
    """Return the bucket of a latency: bucket i has those over 2^((i-1)/4) us and up to 2^(i/4) us."""
    # Seven comparisons in C: a logarithm rounds at the bounds, and 0 has none.
    return bisect_left(BUCKET_BOUNDS, seconds)


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """Return the latency in seconds that a part (0 to 1) of those in the buckets do not exceed; None without any."""
    total = sum(counts.values())
    if not total:
        return None
    rank = part * total
    for index in sorted(counts):
        rank -= counts[index]
        if rank <= 0:
            break
    middle = 2 ** ((index - 0.5) / 4)  # of the logarithms
    return float(f"{middle / 1e6:.3g}")


class LatencyHistogram:
    """Counts latencies at the cost of a list item: prometheus-client's own histogram takes a lock for each."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        # By bucket.
        self.counts = [0] * (LAST_BUCKET + 1)
        # The sum of all.
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count a latency."""
        self.counts[bucket(seconds)] += 1
        self.seconds += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Yield bounds in seconds, or +Inf, with the number of latencies up to each, as Prometheus has histograms."""
        before = total = 0
        for shown in _SHOWN_BUCKETS:
            total += sum(self.counts[before : shown + 1])
            before = shown + 1
            yield repr(BUCKET_BOUNDS[shown]), total
        yield "+Inf", total + sum(self.counts[before:])


class EventLoopLag(Collector):
    """Measures how late a timer of the running event loop is: a process that is busy with one thing lets all wait."""

    def __init__(self) -> None:
        self._lag = LatencyHistogram()

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lag.observe(max(0.0, loop.time() - due))

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram."""
        lag = HistogramMetricFamily(
            "dockercoins_event_loop_lag_seconds",
            "Seconds that a timer of the event loop was late, measured all the time",
        )
        lag.add_metric((), list(self._lag.cumulative()), self._lag.seconds)
        yield lag


def register_process_metrics(registry: CollectorRegistry, health: Health) -> None:
    """Register metrics of CPU, memory and open files (on Linux), garbage collection, Python, and readiness."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    ready = Gauge("dockercoins_ready", "1 while the process is ready for work, as /readyz has it", registry=registry)
    ready.set_function(lambda: health.ready)
