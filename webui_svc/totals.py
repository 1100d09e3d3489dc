import math
import re
from collections.abc import Mapping

from webui_svc.speed import Point

RESOLUTION = 10
"""Seconds in a bucket."""

KEPT = 3_600
"""Seconds that the buckets reach back."""

_SECOND = re.compile(rb"[0-9]{1,12}")
_MAX_HASHES = 1e18


def parse(fields: Mapping[bytes, bytes]) -> dict[int, float]:
    """Hashes by the bucket's first second; what is no bucket is left out."""
    totals = {}
    for field, value in fields.items():
        second = int(field) if _SECOND.fullmatch(field) else -1
        hashes = _number(value)
        if second >= 0 and second % RESOLUTION == 0 and 0 <= hashes <= _MAX_HASHES:
            totals[second] = hashes
    return totals


def points(totals: Mapping[int, float], until: int, seconds: int) -> list[Point]:
    """Hashes a second in each whole bucket of the last so many seconds before `until`, oldest first.

    They begin with the first bucket known; one that is missing after it is a time in which nobody mined.
    """
    end = until // RESOLUTION * RESOLUTION
    begin = end - math.ceil(seconds / RESOLUTION) * RESOLUTION
    known = [second for second in totals if begin <= second < end]
    if not known:
        return []
    return [(second, round(totals.get(second, 0.0) / RESOLUTION, 4)) for second in range(min(known), end, RESOLUTION)]


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan  # no comparison holds for it
