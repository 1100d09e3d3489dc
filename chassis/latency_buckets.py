"""Latencies counted by size: counts of several workers can be added up, and quantiles read from the sums.

A bucket is a quarter of a doubling, so what is read from it is right within 19 %.
"""

from bisect import bisect_left
from collections.abc import Mapping

LAST = 120
"""The last bucket, which also holds whatever takes longer: its bound is 1,074 s, and nobody waits that long."""

BOUNDS = tuple(2 ** (bucket / 4) / 1e6 for bucket in range(LAST))
"""The longest latency in each bucket but the last, in seconds: 1 us in the first, 19 % more in each after it."""


def bucket(seconds: float) -> int:
    """The bucket of a latency, 0 to 120: in bucket i it is over 2^((i-1)/4) us and at most 2^(i/4) us."""
    # Seven comparisons in C: no logarithm, of which 0 has none and that rounds at the bounds.
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """The latency in seconds that so large a part (0 to 1) of those counted by bucket do not exceed; None of none."""
    total = sum(counts.values())
    if not total:
        return None
    rank = part * total
    for index in sorted(counts):
        rank -= counts[index]
        if rank <= 0:
            break
    middle = 2 ** ((index - 0.5) / 4)  # of the logarithms: no more than 9 % off either way
    return float(f"{middle / 1e6:.3g}")
