"""Statistics of coins: the latest ones, and how many were expected."""

import heapq
import math
from collections.abc import Callable
from typing import Any

from chassis.redis.schema import NewCoins
from webui_svc.speed import Speed

# Coins that are shown, the newest ones.
SHOWN_COINS = 8

# The time that coins are counted over.
MINUTE_S = 60


class CoinStatistics:
    """The latest coins, and how many were found in a minute beside how many are expected."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, Any]] = {}  # by digest, newest first
        self._bits: dict[str, int] = {}
        self._newest_bits: int | None = None

    def ingest(self, worker: str, coins: NewCoins, place: Callable[[float], float]) -> None:
        """Take over a worker's latest coins; `place` puts a moment of its clock on the time axis."""
        self._bits[worker] = self._newest_bits = coins.bits
        if not coins.latest:
            return
        latest: dict[str, dict[str, Any]] = {
            coin.digest: {"digest": coin.digest, "at": place(coin.at), "bits": coins.bits, "worker": worker}
            for coin in reversed(coins.latest)
        }
        for digest, coin in self._latest.items():
            latest.setdefault(digest, coin)
        newest = heapq.nlargest(SHOWN_COINS, latest.values(), key=lambda coin: coin["at"])  # of one batch, in its order
        self._latest = {coin["digest"]: coin for coin in newest}

    def figures(self, speed: Speed, shift_s: int = 0) -> dict[str, Any]:
        """Return all that is shown, with Unix times, which are `shift_s` ahead of the time axis.

        The minute is the last 60 seconds known, fewer when work began later.
        """
        latest = [{**coin, "at": round(coin["at"] + shift_s, 6)} for coin in self._latest.values()]
        return {"latest": latest, **self._count(speed, speed.complete_until or 0)}

    def _count(self, speed: Speed, until: int) -> dict[str, Any]:
        """Count coins, and expect one of each hash with the probability of that many zero bits: variances add up.

        What is expected is None as long as no worker has reported how many bits make a coin.
        """
        found = round(sum(speed.coins.between(until - MINUTE_S, until)))
        hashes = speed.hashes_by_worker(until - MINUTE_S, until)
        known = speed.workers.keys() | hashes.keys()
        self._bits = {worker: bits for worker, bits in self._bits.items() if worker in known}
        if self._newest_bits is None:
            return {"minute": found, "expected": None, "deviation": None}
        expected = variance = 0.0
        for worker, count in hashes.items():
            chance = 2.0 ** -self._bits.get(worker, self._newest_bits)
            expected += count * chance
            variance += count * chance * (1 - chance)
        return {"minute": found, "expected": round(expected, 3), "deviation": round(math.sqrt(variance), 3)}
