from collections import deque

from chassis.limits import DIGEST_SIZE
from chassis.redis.schema import MAX_NEW_COINS
from worker_svc.coins import CoinFinder


class LatestCoins:
    """The last coins found, though hundreds of thousands a second are: only what they are in is kept as they come."""

    def __init__(self, finder: CoinFinder) -> None:
        self._finder = finder
        self._batches: deque[tuple[bytes | memoryview, int, float]] = deque()
        """Digests, the coins among them, and when they were found."""
        self._coins = 0

    def found(self, digests: bytes | memoryview, coins: int, now: float) -> None:
        """There are so many coins, 1 or more, among these digests."""
        self._batches.append((digests, coins, now))
        self._coins += coins
        while (fewer := self._coins - self._batches[0][1]) >= MAX_NEW_COINS:
            self._coins = fewer
            self._batches.popleft()

    def take(self) -> list[tuple[str, float]]:
        """At most 8 found since this was last asked, the oldest first: hex digest, and when it was found."""
        latest = [
            (digests[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE].hex(), now)
            for digests, _, now in self._batches
            for position in self._finder.last_positions(digests, MAX_NEW_COINS)
        ]
        self._batches.clear()
        self._coins = 0
        return latest[-MAX_NEW_COINS:]
