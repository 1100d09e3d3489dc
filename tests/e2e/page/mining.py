"""What workers write to Redis, with no worker."""

import asyncio
import contextlib
import json
import math
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import RedisError
from support.redis_server import RedisServer
from system.webui.reports import Reports

BITS = 4
"""Leading zero bits of a coin."""


class Mining:
    """Workers at the classic pace that see some replicas of rng and hasher; a test changes who is there."""

    def __init__(self, redis: RedisServer) -> None:
        self.workers = ["worker-1-00000001"]
        self.rngs = {"rng-1": "serving"}
        self.hashers = {"hasher-1": "serving"}
        self.rate = 10.0
        """Hashes a second of each worker."""
        self.every = 1.0
        """Seconds between two reports of a worker."""
        self.batch_size = 1
        self.pace = "classic"
        self.latency = 0.1
        """Seconds that a batch takes at each of the two services."""
        self._client = redis.client()
        self._reports = Reports(redis)
        self._sequence = 0
        self._until = float(int(time.time()))

    def write(self, begin: float, end: float) -> None:
        """What every worker would have written by the end of an interval, in Unix seconds."""
        for worker in self.workers:
            # A report reaches from batch to batch, as a worker's does, so that the speed is a flat line.
            first, last = (math.floor(second * self.rate + 1e-6) for second in (begin, end))
            hashes = last - first
            coins = sum(random.choices((0, 1), (2**BITS - 1, 1), k=hashes))
            self._sequence += 1
            self._reports.add(
                first / self.rate, last / self.rate, hashes, worker,
                sequence=self._sequence, coins=coins, batch_size=self.batch_size, pace=self.pace,
            )  # fmt: skip
            self._client.incrby("coins", coins)
            for key in ("totals", f"totals:{worker}"):
                self._client.hincrby(key, str(int(begin // 10 * 10)), hashes)
            self._client.hset(f"worker:{worker}", mapping=self._seen(begin, end, hashes, coins))
            self._client.expire(f"worker:{worker}", 3_600)

    def write_past(self, seconds: int, until: int = 0) -> None:
        """The same for each second from so many to so many before it began."""
        began = int(self._until)
        for second in range(began - seconds, began - until):
            self.write(second, second + 1)

    def publish(self, report: dict[str, Any]) -> None:
        """What a load test leaves behind."""
        self._client.lpush("load_tests", json.dumps(report))

    async def run(self) -> None:
        """Write as time goes by."""
        while True:
            await asyncio.sleep(0.05)
            now = time.time() // self.every * self.every
            if now >= self._until + self.every / 2:
                with contextlib.suppress(RedisError):  # a test may have stopped it
                    self.write(self._until, now)
                    self._until = now

    def _seen(self, begin: float, end: float, hashes: int, coins: int) -> dict[str, str | int]:
        batches = hashes // self.batch_size
        found = [["0" + secrets.token_hex(32)[1:], end - 0.5] for _ in range(min(coins, 8))]
        backends = {
            "seconds": end - begin,
            "rng": self._backends(self.rngs, batches),
            "hasher": self._backends(self.hashers, batches),
        }
        return {
            "sequence": self._sequence,
            "backends": json.dumps(backends),
            "coins": json.dumps({"bits": BITS, "latest": found}),
        }

    def _backends(self, states: dict[str, str], batches: int) -> list[dict[str, Any]]:
        there = [name for name, state in states.items() if state != "gone"]
        bucket = str(math.ceil(4 * math.log2(self.latency * 1e6)))
        parts = {
            name: batches // len(there) + ((index + self._sequence) % len(there) < batches % len(there))
            for index, name in enumerate(there)
        }
        return [
            {"name": name, "state": state, "batches": parts.get(name, 0), "latency": {bucket: parts.get(name, 0)}}
            for name, state in states.items()
        ]


@asynccontextmanager
async def mining_system(redis: RedisServer) -> AsyncIterator[Mining]:
    """Workers that write for as long as the context lasts."""
    mining = Mining(redis)
    running = asyncio.create_task(mining.run())
    try:
        yield mining
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def load_test(began: str, points: int = 5) -> dict[str, Any]:
    """A report as a load test publishes it."""

    def point(index: int, mode: str) -> dict[str, Any]:
        batch_size = 16**index
        speed = (1_600 if mode == "stream" else 600) * batch_size / (1 + batch_size / 1_000)
        latency = 8 * batch_size / speed
        return {
            "point": {
                "mode": mode, "batch_size": batch_size, "window": 8, "streams": 64 if mode == "stream" else 0,
                "message_size": 32, "rate": "",
            },
            "summary": {
                "hashes_per_second": {"median": speed, "min": speed, "max": speed},
                "latency_seconds": {
                    "total": {"p50": latency, "p90": 1.3 * latency, "p99": 2 * latency, "p999": 3 * latency, "max": 5.0}
                },
            },
        }  # fmt: skip

    return {
        "format": "dockercoins-load-test",
        "version": 1,
        "began": began,
        "complete": True,
        "problem": "",
        "machine": {"cores": 2},
        "versions": {},
        "conditions": {},
        "points": [point(index, mode) for mode in ("stream", "unary") for index in range(points)],
    }
