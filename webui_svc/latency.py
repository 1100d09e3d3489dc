"""Latencies counted by bucket: bucket i holds those in (2^((i-1)/4), 2^(i/4)] microseconds, bucket 0 all up to 1.

Counts of the same bucket add up exactly, so a quantile of many workers' batches is right within a bucket (19 %).
"""

from collections.abc import Mapping
from typing import Any

from webui_svc.stored_json import MalformedJsonError

LAST = 120
"""The last bucket; it ends at 18 minutes."""

_MOST = 2**53
_BUCKETS = {str(bucket): bucket for bucket in range(LAST + 1)}


def parse(data: Any) -> dict[int, int]:
    """Batches by bucket. Raises MalformedJsonError for a bucket that there is not, or what is no count."""
    if not isinstance(data, dict):
        raise MalformedJsonError("latency: no object")
    counts = {}
    for name, count in data.items():
        bucket = _BUCKETS.get(name)
        if bucket is None or type(count) is not int or not 0 <= count <= _MOST:
            raise MalformedJsonError(f"latency: {ascii(name)[:40]} is no bucket from 0 to {LAST} with a count")
        counts[bucket] = count
    return counts


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """The latency in seconds that so large a part (0 to 1) of the batches does not exceed; None without a batch."""
    total = sum(counts.values())
    if not total:
        return None
    rank = part * total
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0:
            break
    middle = 2 ** ((bucket - 0.5) / 4)  # of the logarithms: no more than 9 % off either way
    return float(f"{middle / 1e6:.3g}")
