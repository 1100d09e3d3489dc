"""Which batches rngs or hashers completed, and when, by their own account and not by the worker's."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from pathlib import Path


class ServerLog:
    """A file to which all replicas of a service append a line for each batch: time, replica, client, batch id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._offset = 0
        self._completed: dict[str, set[int]] = defaultdict(set)
        # When, by which replica, and whether it was the first time.
        self._entries: list[tuple[float, str, bool]] = []

    def _update(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(lines) + len(newline)
        for line in lines.decode().splitlines():
            moment, replica, client, batch = line.split()
            # A replica that was frozen between a look at the clock and writing is late.
            insort(self._entries, (float(moment), replica, int(batch) not in self._completed[client]))
            self._completed[client].add(int(batch))

    @property
    def completed(self) -> dict[str, set[int]]:
        """The ids of the batches, by client."""
        self._update()
        return self._completed

    @property
    def repeated(self) -> int:
        """How often a batch was completed once more."""
        self._update()
        return sum(not is_first for *_, is_first in self._entries)

    def _between(self, begin: float, end: float) -> list[tuple[float, str, bool]]:
        self._update()
        return self._entries[bisect_left(self._entries, (begin,)) : bisect_left(self._entries, (end,))]

    def speed(self, begin: float, end: float) -> float:
        """Return the batches per second, each counted once."""
        return sum(is_first for *_, is_first in self._between(begin, end)) / (end - begin)

    def slowest(self, begin: float, end: float, window_s: float) -> float:
        """Return the lowest speed of any such window."""
        starts = [begin + step / 20 for step in range(int((end - begin - window_s) * 20) + 1)]
        return min(self.speed(start, start + window_s) for start in starts)

    def shares(self, begin: float, end: float) -> dict[str, float]:
        """Return the part of the batches that each replica completed; none for those that completed none."""
        counts = Counter(replica for _, replica, _ in self._between(begin, end))
        return {replica: count / counts.total() for replica, count in counts.items()}
