class Buckets:
    """Hashes by the second: what was reported for an interval, spread evenly over it."""

    def __init__(self) -> None:
        self._hashes: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._hashes)

    def __getitem__(self, second: int) -> float:
        """Hashes in the second that begins then; none where nothing was reported."""
        return self._hashes.get(second, 0.0)

    def spread(self, hashes: int, begin_us: int, end_us: int, floor: int) -> range:
        """Add the hashes of an interval, save those that fall before the second `floor`; the seconds it changed.

        The parts add up to the whole: each is the difference of two points of one straight line. An interval without
        length is a moment, and its hashes belong to the second in which it lies.
        """
        first, last = max(begin_us // 1_000_000, floor), end_us // 1_000_000
        if begin_us == end_us:
            if first <= last:
                self._hashes[last] = self[last] + hashes
            return range(first, last + 1)
        if last * 1_000_000 == end_us:
            last -= 1  # the interval ends where that second begins
        for second in range(first, last + 1):
            begin = max(second * 1_000_000, begin_us)
            end = min((second + 1) * 1_000_000, end_us)
            self._hashes[second] = self[second] + hashes * (end - begin) / (end_us - begin_us)
        return range(first, last + 1)

    def forget_before(self, second: int) -> None:
        """Drop what lies before."""
        for old in [kept for kept in self._hashes if kept < second]:
            del self._hashes[old]
