"""Workers that only report: they leave in Redis what real ones would, at whatever speed they are told to have."""

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

TICK = 0.05
"""Seconds between two lots of reports: workers of a real system report one after the other, not all at once."""

HASHES = 2_000
"""A report's, which is 2,000 hashes/s."""

REPLICAS = 3
"""Replicas of rng and of hasher."""

COINS = 8
BITS = 4
BUCKET = 10
HOUR = 3_600
STREAMED = 900
"""Seconds of reports in the stream."""

CHUNK = 2_000
"""Commands that are sent at a time."""


class Simulation:
    """So many workers that report once a second."""

    def __init__(self, redis: Any, workers: int) -> None:
        self.written: list[tuple[float, int]] = []
        """Unix seconds at which a lot of reports was in Redis, and the hashes counted by then."""
        self._redis = redis
        self._workers = [(f"worker-{number}-{number:08x}", f"worker-{number}") for number in range(1, workers + 1)]
        self._sequence = 0
        self._random = random.Random(1)  # noqa: S311 - nobody is to guess wrong
        self._hashes = int(redis.get("hashes") or 0)

    def write_hour(self) -> None:
        """Leave what an hour of work leaves."""
        now = int(time.time())
        pipeline = self._redis.pipeline(transaction=False)
        first = (now - HOUR) // BUCKET * BUCKET
        totals: dict[int, float] = {}
        for worker, _ in self._workers:
            buckets = {second: self._uneven(BUCKET) for second in range(first + BUCKET, now // BUCKET * BUCKET, BUCKET)}
            pipeline.hset(f"totals:{worker}", mapping=buckets)
            pipeline.expire(f"totals:{worker}", HOUR)
            for second, hashes in buckets.items():
                totals[second] = totals.get(second, 0.0) + hashes
        pipeline.hset("totals", mapping=totals)
        for second in range(now - STREAMED, now):
            self._sequence += 1
            for number, (worker, instance) in enumerate(self._workers):
                entry = f"{second * 1_000 + number * 1_000 // len(self._workers)}-{number}"
                pipeline.xadd("reports", self._report(worker, instance, float(second)), id=entry)
            if len(pipeline) >= CHUNK:
                pipeline.execute()
        self._hashes += STREAMED * HASHES * len(self._workers)
        pipeline.set("hashes", self._hashes)
        pipeline.execute()

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """All report, for as long as the context lasts."""
        ended = threading.Event()
        thread = threading.Thread(target=self._report_until, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _report_until(self, ended: threading.Event) -> None:
        ticks = round(1 / TICK)
        due = time.monotonic()
        while not ended.is_set():
            self._sequence += 1
            for tick in range(ticks):
                pipeline = self._redis.pipeline(transaction=False)
                for worker, instance in self._workers[tick::ticks]:
                    self._add(pipeline, worker, instance)
                if len(pipeline):
                    pipeline.execute()
                    self.written.append((time.time(), self._hashes))
                due += TICK
                time.sleep(max(0.0, due - time.monotonic()))

    def _add(self, pipeline: Any, worker: str, instance: str) -> None:
        now = time.time()
        self._hashes += HASHES
        pipeline.incrby("hashes", HASHES)
        pipeline.incrby("coins", HASHES >> BITS)
        pipeline.hset(f"worker:{worker}", mapping=self._key(worker, now))
        report = self._report(worker, instance, now - 1)
        pipeline.xadd("reports", report, minid=int((now - STREAMED) * 1e3), approximate=True)
        for key in ("totals", f"totals:{worker}"):
            pipeline.hincrbyfloat(key, str(int(now) // BUCKET * BUCKET), HASHES)
        pipeline.expire(f"totals:{worker}", HOUR)

    def _report(self, worker: str, instance: str, begin: float) -> dict[str, Any]:
        return {
            "worker": worker,
            "instance": instance,
            "sequence": self._sequence,
            "hashes": round(self._uneven(1)),
            "coins": HASHES >> BITS,
            "begin_us": round(begin * 1e6),
            "end_us": round(begin * 1e6) + 1_000_000,
            "batch_size": 256,
            "pace": "full",
            "report_interval_us": 1_000_000,
            "sent_us": round(begin * 1e6) + 1_000_000,
            "redis_us": round(begin * 1e6) + 1_000_000,
            "stalled_since_us": 0,
            "waits_for": "",
        }

    def _uneven(self, seconds: int) -> float:
        return HASHES * seconds * self._random.uniform(0.8, 1.2)

    def _key(self, worker: str, now: float) -> dict[str, Any]:
        latency = {str(bucket): 3 + bucket for bucket in range(36, 48)}
        batches = sum(latency.values())
        replicas = {
            service: [
                {
                    "name": f"{service}-{number}",
                    "address": f"10.0.0.{number}:50051",
                    "state": "serving",
                    "batches": batches,
                    "latency": latency,
                }
                for number in range(1, REPLICAS + 1)
            ]
            for service in ("rng", "hasher")
        }
        digests = (f"{abs(hash((worker, self._sequence, number))):064x}" for number in range(COINS))
        coins = [[digest, round(now - 0.01 * number, 3)] for number, digest in enumerate(digests)]
        return {
            "sequence": self._sequence,
            "replicas": json.dumps({"seconds": 1.0, **replicas}),
            "coins": json.dumps({"bits": BITS, "latest": coins}),
        }
