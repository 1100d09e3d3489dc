from typing import Any

from chassis.latency_buckets import LAST
from webui_svc.stored_json import MalformedJsonError

_MOST = 2**53
_BUCKETS = {str(bucket): bucket for bucket in range(LAST + 1)}


def parse(data: Any) -> dict[int, int]:
    """Latencies counted by bucket, as a worker says them.

    Raises MalformedJsonError for a bucket that there is not, or what is no count.
    """
    if not isinstance(data, dict):
        raise MalformedJsonError("latency: no object")
    counts = {}
    for name, count in data.items():
        bucket = _BUCKETS.get(name)
        if bucket is None or type(count) is not int or not 0 <= count <= _MOST:
            raise MalformedJsonError(f"latency: {ascii(name)[:40]} is no bucket from 0 to {LAST} with a count")
        counts[bucket] = count
    return counts
