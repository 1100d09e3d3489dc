import heapq
from collections.abc import Mapping

from chassis.redis.schema import Report
from webui_svc.buckets import Buckets

SHOWN = 8
"""Workers that are shown by themselves: those with most hashes."""


class WorkerSpeeds:
    """Hashes by the second of each worker."""

    def __init__(self) -> None:
        self._buckets: dict[str, Buckets] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, report: Report, floor: int) -> None:
        """Count a report, save what falls before the second `floor`."""
        if report.hashes:
            buckets = self._buckets.setdefault(report.worker, Buckets())
            buckets.spread(report.hashes, report.begin_us, report.end_us, floor)

    def sums(self, begin: int, end: int) -> dict[str, float]:
        """Hashes between two seconds by worker; those without any are left out."""
        sums = {worker: sum(buckets.between(begin, end)) for worker, buckets in self._buckets.items()}
        return {worker: hashes for worker, hashes in sums.items() if hashes}

    def column(self, worker: str, begin: int, end: int) -> list[float]:
        """Hashes in each second of one worker."""
        return self._buckets[worker].between(begin, end)

    def forget_before(self, second: int) -> None:
        """Drop what lies before, and workers with nothing after it."""
        for worker, buckets in list(self._buckets.items()):
            buckets.forget_before(second)
            if not len(buckets):
                del self._buckets[worker]


def most(sums: Mapping[str, float]) -> list[str]:
    """The workers to show by themselves, most hashes first."""
    return heapq.nsmallest(SHOWN, sums, key=lambda worker: (-sums[worker], worker))


def with_others(second: int, total: float, row: list[float]) -> list[float]:
    """A row of the history: what the workers shown leave of the total is the others'."""
    return [second, *(round(hashes, 4) for hashes in row), round(max(total - sum(row), 0.0), 4)]
