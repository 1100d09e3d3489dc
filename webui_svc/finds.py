import heapq
import math
from typing import Any

from webui_svc.coins import Found
from webui_svc.speed import Speed

SHOWN = 8
"""Coins that are shown, the newest ones."""

MINUTE = 60
"""Seconds that finds are counted over."""

MAX_AHEAD = 60
"""Seconds that a find may lie ahead, for clocks differ; one further off would be the latest for ever."""


class Finds:
    """Coins: the latest ones, and how many a minute beside what chance predicts."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, Any]] = {}  # by digest, newest first
        self._bits: dict[str, int] = {}
        self._newest_bits: int | None = None
        self._minute: tuple[int, dict[str, Any]] | None = None

    def hear(self, worker: str, found: Found, now: float) -> None:
        """What a worker found since its report before, as of now (Unix seconds)."""
        self._bits[worker] = self._newest_bits = found.bits
        if not found.latest:
            return
        coins: dict[str, dict[str, Any]] = {
            coin.digest: {"digest": coin.digest, "at": coin.at, "bits": found.bits, "worker": worker}
            for coin in reversed(found.latest)
            if coin.at <= now + MAX_AHEAD
        }
        for digest, coin in self._latest.items():
            coins.setdefault(digest, coin)
        newest = heapq.nlargest(SHOWN, coins.values(), key=lambda coin: coin["at"])  # of one batch, as they were told
        self._latest = {coin["digest"]: coin for coin in newest}

    def figures(self, speed: Speed) -> dict[str, Any]:
        """All of it. A minute is the last 60 seconds known, fewer when it began later."""
        until = speed.until or 0
        if self._minute is None or self._minute[0] != until:
            self._minute = (until, self._count(speed, until))
        return {"latest": list(self._latest.values()), **self._minute[1]}

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
