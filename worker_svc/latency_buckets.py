"""Latencies counted by size: counts of several workers can be added up, and quantiles read from the sums.

A bucket is a quarter of a doubling, so what is read from it is right within 19 %.
"""

from bisect import bisect_left

LAST = 120
"""The last bucket, which also holds whatever takes longer: its bound is 1,074 s, and nobody waits that long."""

BOUNDS = tuple(2 ** (bucket / 4) / 1e6 for bucket in range(LAST))
"""The longest latency in each bucket but the last, in seconds: 1 us in the first, 19 % more in each after it."""


def bucket(seconds: float) -> int:
    """The bucket of a latency, 0 to 120: in bucket i it is over 2^((i-1)/4) us and at most 2^(i/4) us."""
    # Seven comparisons in C: no logarithm, of which 0 has none and that rounds at the bounds.
    return bisect_left(BOUNDS, seconds)
