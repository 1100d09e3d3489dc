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
            if self._bits <= 8 or self._is_coin(digests[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE]):
                yield position
            position = candidates.find(_MARK, position + 1)

    def _candidates(self, digests: bytes | memoryview) -> bytes:
        # The first byte decides up to 8 bits, and leaves one digest in 256 to look at beyond that.
        return bytes(digests[::DIGEST_SIZE]).translate(self._marks)

    def _is_coin(self, digest: bytes | memoryview) -> bool:
        return int.from_bytes(digest) >> (8 * DIGEST_SIZE - self._bits) == 0
