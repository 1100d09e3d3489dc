"""Coins: digests with a number of leading zero bits, found in packed digests without looking at each in Python."""

from collections.abc import Iterator

from chassis.limits import DIGEST_SIZE

_MARK = b"\x01"


class CoinFinder:
    """Finds the digests that begin with `bits` zero bits, 1 to 256."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        below = 1 << (8 - min(bits, 8))
        self._marks = bytes(byte < below for byte in range(256))

    def count(self, digests: bytes | memoryview) -> int:
        """How many of the packed digests are coins."""
        if self._bits <= 8:
            return self._candidates(digests).count(_MARK)
        return sum(1 for _ in self.positions(digests))

    def positions(self, digests: bytes | memoryview) -> Iterator[int]:
        """Which of the packed digests are coins, in order."""
        candidates = self._candidates(digests)
        position = candidates.find(_MARK)
        while position >= 0:
            if self._confirmed(digests, position):
                yield position
            position = candidates.find(_MARK, position + 1)

    def last_positions(self, digests: bytes | memoryview, limit: int) -> list[int]:
        """Which are the last `limit` coins of the packed digests, in order."""
        candidates = self._candidates(digests)
        last: list[int] = []
        position = len(candidates)
        while len(last) < limit and (position := candidates.rfind(_MARK, 0, position)) >= 0:
            if self._confirmed(digests, position):
                last.append(position)
        return last[::-1]

    def _candidates(self, digests: bytes | memoryview) -> bytes:
        # The first byte decides up to 8 bits, and leaves one digest in 256 to look at beyond that.
        return bytes(digests[::DIGEST_SIZE]).translate(self._marks)

    def _confirmed(self, digests: bytes | memoryview, position: int) -> bool:
        if self._bits <= 8:
            return True
        digest = digests[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE]
        return int.from_bytes(digest) >> (8 * DIGEST_SIZE - self._bits) == 0
