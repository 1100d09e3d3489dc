from collections.abc import Iterator

from chassis.latency_buckets import BOUNDS, bucket

_SHOWN = range(12, 101, 4)
"""The buckets whose bounds are shown: 8 us, twice as much each time, 33.6 s. All finer ones go into these."""


class LatencyHistogram:
    """Latencies, counted at the cost of a list item: prometheus-client's own histogram takes a lock for each."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """By bucket, as chassis.latency_buckets has them."""
        self.seconds = 0.0
        """The sum of all."""

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bucket(seconds)] += 1
        self.seconds += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """A bound in seconds, or +Inf, and how many were no longer, as Prometheus has histograms."""
        before = total = 0
        for shown in _SHOWN:
            total += sum(self.counts[before : shown + 1])
            before = shown + 1
            yield repr(BOUNDS[shown]), total
        yield "+Inf", total + sum(self.counts[before:])
