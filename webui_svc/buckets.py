from array import array
from functools import lru_cache

CHUNK = 64
"""Seconds that are held together: eight bytes a second, where a dictionary takes a hundred."""


class Buckets:
    """What was counted by the second: reported for an interval, spread evenly over it."""

    def __init__(self) -> None:
        self._chunks: dict[int, array[float]] = {}

    def __len__(self) -> int:
        """Seconds that there is room for."""
        return CHUNK * len(self._chunks)

    def __getitem__(self, second: int) -> float:
        """The count in the second that begins then; none where nothing was reported."""
        chunk = self._chunks.get(second // CHUNK)
        return chunk[second % CHUNK] if chunk else 0.0

    def spread(self, count: float, begin_us: int, end_us: int, floor: int) -> range:
        """Add the count of an interval, save what falls before the second `floor`; the seconds it changed.

        The parts add up to the whole: each is the difference of two points of one straight line. An interval without
        length is a moment, and its count belongs to the second in which it lies.
        """
        first, parts = _parts(begin_us, end_us, floor)
        if count:
            for second, part in enumerate(parts, first):
                self._add(second, count * part)
        return range(first, first + len(parts))

    def between(self, begin: int, end: int) -> list[float]:
        """The counts of these seconds, in order."""
        counts: list[float] = []
        while begin < end:
            chunk = self._chunks.get(begin // CHUNK)
            offset = begin % CHUNK
            taken = min(CHUNK - offset, end - begin)
            counts += chunk[offset : offset + taken] if chunk else [0.0] * taken
            begin += taken
        return counts

    def forget_before(self, second: int) -> None:
        """Drop what lies before, as far as nothing later is held together with it."""
        for old in [number for number in self._chunks if (number + 1) * CHUNK <= second]:
            del self._chunks[old]

    def _add(self, second: int, count: float) -> None:
        number, offset = divmod(second, CHUNK)
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = array("d", bytes(8 * CHUNK))
        chunk[offset] += count


@lru_cache(8)  # hashes and coins of a report are spread over the same interval
def _parts(begin_us: int, end_us: int, floor: int) -> tuple[int, list[float]]:
    """The first second of an interval from the floor on, and how much of the interval lies in it and those after it."""
    first, last = max(begin_us // 1_000_000, floor), end_us // 1_000_000
    if begin_us == end_us:
        return last, [1.0] if first <= last else []
    if last * 1_000_000 == end_us:
        last -= 1  # the interval ends where that second begins
    length = end_us - begin_us
    seconds = range(first * 1_000_000, (last + 1) * 1_000_000, 1_000_000)
    return first, [(min(second + 1_000_000, end_us) - max(second, begin_us)) / length for second in seconds]
