"""Latencies in bounded space, whatever their number.

The buckets are those of HdrHistogram (Gil Tene, https://hdrhistogram.github.io/HdrHistogram/) with three significant
digits. Its Python package has no wheels for Linux on arm64 and needs setuptools at run time; this needs neither.
"""

import math
from collections import Counter
from dataclasses import dataclass

UNIT = 1e-6
"""Seconds of the smallest difference that is kept."""

EXACT_BITS = 11
"""Values of so many bits have a bucket each; above, neighbours share one, so that none is off by more than 0.1 %."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds below which so many in a hundred stay, 0 where there is nothing to say."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    """That is 99.9 in a hundred."""
    max: float = 0.0


class Histogram:
    """Counts latencies by their size."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._max = 0.0
        self.total = 0
        """How many there are."""

    def record(self, seconds: float, times: int = 1) -> None:
        """Count a latency, or several alike."""
        value = int(seconds / UNIT)
        shift = max(value.bit_length() - EXACT_BITS, 0)
        # A bucket's number is made of its values' power of two and their leading bits.
        self._counts[shift << EXACT_BITS | value >> shift] += times
        self.total += times
        self._max = max(self._max, seconds)

    def quantile(self, part: float) -> float:
        """Seconds that this part (0 to 1) of them does not exceed: the nearest rank, at the upper end of its bucket."""
        rank = max(math.ceil(part * self.total), 1)
        for bucket, count in sorted(self._counts.items()):
            rank -= count
            if rank <= 0:
                shift = bucket >> EXACT_BITS
                leading = bucket & (1 << EXACT_BITS) - 1
                return min((((leading + 1) << shift) - 1) * UNIT, self._max)
        return 0.0

    def quantiles(self) -> Quantiles:
        """What a report says of it."""
        p50, p90, p99, p999 = (self.quantile(part) for part in (0.5, 0.9, 0.99, 0.999))
        return Quantiles(p50, p90, p99, p999, self._max)
