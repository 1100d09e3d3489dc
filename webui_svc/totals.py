import math
from collections.abc import Mapping

from chassis.redis.schema import BUCKET_S
from webui_svc.speed import Point


def points(totals: Mapping[int, float], until: int, seconds: int) -> list[Point]:
    """Hashes a second in each whole bucket of the last so many seconds before `until`, oldest first.

    They begin with the first bucket known; one that is missing after it is a time in which nobody mined.
    """
    end = until // BUCKET_S * BUCKET_S
    begin = end - math.ceil(seconds / BUCKET_S) * BUCKET_S
    known = [second for second in totals if begin <= second < end]
    if not known:
        return []
    return [(second, round(totals.get(second, 0.0) / BUCKET_S, 4)) for second in range(min(known), end, BUCKET_S)]
