"""Ten-second buckets by worker, for the hour that is not held by the second."""

from collections import defaultdict
from collections.abc import Mapping
from math import ceil

from chassis.redis.schema import BUCKET_S, BUCKETS_S
from webui_svc.worker_speeds import most, with_others

MOST_WORKERS = 1_000
"""Workers whose buckets are held; hashes of further ones are among the others'."""


class WorkerTotals:
    """Hashes by worker and bucket's first second."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[int, float]] = {}
        self._until = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def set(self, worker: str, buckets: Mapping[int, float]) -> None:
        """Take over what Redis holds of one worker, be it all or the newest buckets."""
        if not buckets or (worker not in self._buckets and len(self._buckets) >= MOST_WORKERS):
            return
        self._buckets.setdefault(worker, {}).update(buckets)

    def settle(self, until: int) -> None:
        """Those buckets are whole that end by then; forget what is older than an hour."""
        self._until = until
        oldest = until - BUCKETS_S - BUCKET_S
        for worker, buckets in list(self._buckets.items()):
            for second in [second for second in buckets if second < oldest]:
                del buckets[second]
            if not buckets:
                del self._buckets[worker]

    def clear(self) -> None:
        """Forget all."""
        self._buckets.clear()

    def history(self, totals: Mapping[int, float], until: int, seconds: int) -> tuple[list[str], list[list[float]]]:
        """The workers with most hashes, and for each bucket its second, their hashes a second and the others'.

        The buckets are those that `totals.points` has of the same totals.
        """
        end = min(until, self._until) // BUCKET_S * BUCKET_S
        begin = end - ceil(seconds / BUCKET_S) * BUCKET_S
        known = [second for second in totals if begin <= second < end]
        if not known:
            return [], []
        sums: dict[str, float] = defaultdict(float)
        for worker, buckets in self._buckets.items():
            hashes = sum(count for second, count in buckets.items() if begin <= second < end)
            if hashes:
                sums[worker] = hashes
        workers = most(sums)
        columns = [self._buckets[worker] for worker in workers]
        rows: list[list[float]] = []
        for second in range(min(known), end, BUCKET_S):
            row = [buckets.get(second, 0.0) / BUCKET_S for buckets in columns]
            rows.append(with_others(second, totals.get(second, 0.0) / BUCKET_S, row))
        return workers, rows
