"""Workers that mine and report as time passes, without the workers."""

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

from load_test.report import Mode
from support.load_test_reports import measurement, point, report
from support.redis_server import RedisServer
from support.reports import WORKER, Reports, replica, worker_key
from support.waiting import background

# Seconds for one batch, little enough that ten per second need not wait.
SERVICE_TIME_S = 0.03


class Mining:
    """Workers at the classic pace and the replicas that they see; a test changes all of it as it goes."""

    def __init__(self, client: Any) -> None:
        self.workers = [WORKER]
        self.rngs = {"rng-1": "serving"}
        self.hashers = {"hasher-1": "serving"}
        # Hashes per second of each worker.
        self.rate = 10.0
        # Seconds between two reports of a worker.
        self.interval = 1.0
        self._client = client
        self._sequence = 0
        self._serving = {*self.rngs, *self.hashers}
        self._began = int(time.time())
        self._until = float(self._began)

    def write(self, begin: float, end: float) -> None:
        """Write what every worker reports by the end of an interval, in Unix seconds."""
        serving = {name for name, state in (self.rngs | self.hashers).items() if state != "gone"}
        with self._client.pipeline(transaction=False) as pipeline:
            for kind, names in (("joined", serving - self._serving), ("left", self._serving - serving)):
                for name in names:
                    Reports(pipeline).annotate(end, kind, name.partition("-")[0], name)
            self._serving = serving
            for worker in self.workers:
                self._write(pipeline, worker, begin, end)
            pipeline.execute()

    def write_past(self, seconds: int, until: int = 0) -> None:
        """Write the seconds from `seconds` to `until` before this began."""
        for second in range(self._began - seconds, self._began - until):
            self.write(second, second + 1)

    def _write(self, pipeline: Any, worker: str, begin: float, end: float) -> None:
        # A report covers whole batches, as a worker's does, so that the speed is a flat line.
        first, last = (math.floor(second * self.rate + 1e-6) for second in (begin, end))
        hashes = last - first
        coins = sum(random.choices((0, 1), (15, 1), k=min(hashes, 100)))
        self._sequence += 1
        Reports(pipeline).add(first / self.rate, last / self.rate, hashes, worker, sequence=self._sequence, coins=coins)
        pipeline.incrby("coins", coins)
        pipeline.zadd("workers", {worker: end, "": end})
        for key in ("totals", f"totals:{worker}"):
            pipeline.hincrby(key, str(int(begin // 10 * 10)), hashes)
        found = [["0" + secrets.token_hex(32)[1:], end - 0.5] for _ in range(min(coins, 8))]
        rngs, hashers = (self._replicas(states, hashes) for states in (self.rngs, self.hashers))
        pipeline.hset(f"worker:{worker}", mapping=worker_key(self._sequence, rngs, hashers, found, end - begin))

    def _replicas(self, states: dict[str, str], batches: int) -> list[dict[str, Any]]:
        serving = [name for name, state in states.items() if state != "gone"]
        shares = {
            name: batches // len(serving) + ((index + self._sequence) % len(serving) < batches % len(serving))
            for index, name in enumerate(serving)
        }
        stats = [replica(name, state, shares.get(name, 0)) for name, state in states.items()]
        for each in stats:
            each["busy_s"] = each["outstanding_s"] = SERVICE_TIME_S * each["batches"]
        return stats

    def publish(self, report: dict[str, Any]) -> None:
        """Store the report of a load test."""
        self._client.lpush("load_tests", json.dumps(report))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            now = time.time() // self.interval * self.interval
            if now >= self._until + self.interval / 2:
                with contextlib.suppress(RedisError):  # a test may have stopped it
                    self.write(self._until, now)
                    self._until = now


@asynccontextmanager
async def mining_system(redis: RedisServer) -> AsyncIterator[Mining]:
    """Workers that report for as long as the context lasts."""
    mining = Mining(redis.client())
    async with background(mining.run()):
        yield mining


def load_test(began: str, points: int = 5) -> dict[str, Any]:
    """Return the report of a load test, as Redis keeps it."""
    fastest = {Mode.STREAM: 1_600_000, Mode.UNARY: 600_000}
    sizes = [16**index for index in range(points)]
    runs = {
        point(size, mode=mode): [measurement(fastest[mode] * size / (1_000 + size))]
        for mode in fastest
        for size in sizes
    }
    return report(runs, began=began).document(runs=False)
