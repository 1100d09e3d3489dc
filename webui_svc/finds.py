import heapq
import math
from collections.abc import Callable
from typing import Any

from chassis.redis.schema import NewCoins
from webui_svc.speed import Speed

SHOWN = 8
"""Coins that are shown, the newest ones."""

MINUTE = 60
"""Seconds that finds are counted over."""


class Finds:
    """Coins: the latest ones, and how many a minute beside what chance predicts."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, Any]] = {}  # by digest, newest first
        self._bits: dict[str, int] = {}
        self._newest_bits: int | None = None
        self._minute: tuple[int, dict[str, Any]] | None = None

    def hear(self, worker: str, found: NewCoins, place: Callable[[float], float]) -> None:
        """What a worker found since its report before; `place` puts a moment of its clock on the time axis."""
        self._bits[worker] = self._newest_bits = found.bits
        if not found.latest:
            return
        coins: dict[str, dict[str, Any]] = {
            coin.digest: {"digest": coin.digest, "at": place(coin.at), "bits": found.bits, "worker": worker}
            for coin in reversed(found.latest)
        }
        for digest, coin in self._latest.items():
            coins.setdefault(digest, coin)
        newest = heapq.nlargest(SHOWN, coins.values(), key=lambda coin: coin["at"])  # of one batch, as they were told
        self._latest = {coin["digest"]: coin for coin in newest}

    def figures(self, speed: Speed, shift_s: int = 0) -> dict[str, Any]:
        """All of it, with Unix times, which are `shift_s` ahead of the time axis.

        A minute is the last 60 seconds known, fewer when it began later.
        """
        until = speed.until or 0
        if self._minute is None or self._minute[0] != until:
            self._minute = (until, self._count(speed, until))
        latest = [{**coin, "at": round(coin["at"] + shift_s, 6)} for coin in self._latest.values()]
        return {"latest": latest, **self._minute[1]}

    def _count(self, speed: Speed, until: int) -> dict[str, Any]:
        """Each hash is a coin with the chance of so many zero bits, so finds are binomial, and their variances add up.

        A prediction is None as long as no worker has said how many bits it wants.
        """
        coins = round(sum(speed.coins.between(until - MINUTE, until)))
        hashes = speed.by_worker.sums(until - MINUTE, until)
        known = speed.workers
        self._bits = {worker: bits for worker, bits in self._bits.items() if worker in known or worker in hashes}
        if self._newest_bits is None:
            return {"minute": coins, "predicted": None, "deviation": None}
        predicted = variance = 0.0
        for worker, count in hashes.items():
            chance = 2.0 ** -self._bits.get(worker, self._newest_bits)
            predicted += count * chance
            variance += count * chance * (1 - chance)
        return {"minute": coins, "predicted": round(predicted, 3), "deviation": round(math.sqrt(variance), 3)}
