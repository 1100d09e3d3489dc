import json
import time
from typing import Any

from support.redis_server import RedisServer


def backend(name: str, state: str = "serving", batches: int = 3, latency: dict[str, int] | None = None) -> Any:
    """A backend as a worker sees it."""
    return {
        "name": name,
        "state": state,
        "batches": batches,
        "latency": {"67": batches} if latency is None else latency,
    }


class Reports:
    """Writes to Redis what a worker writes."""

    def __init__(self, redis: RedisServer) -> None:
        self._client = redis.client()
        self._sequence = 0

    def add(
        self, begin: float, end: float, hashes: int, worker: str = "worker-1-00000001", /, **fields: object
    ) -> None:
        """One report of an interval in Unix seconds; fields given by name replace those of a good one."""
        self._sequence += 1
        now_us = time.time_ns() // 1_000
        report = {
            "worker": worker,
            "instance": worker.rpartition("-")[0],
            "sequence": self._sequence,
            "hashes": hashes,
            "coins": 0,
            "begin_us": int(begin * 1_000_000),
            "end_us": int(end * 1_000_000),
            "batch_size": 1,
            "pace": "classic",
            "report_interval_us": 1_000_000,
            "sent_us": now_us,
            "redis_us": now_us,
            "stalled_since_us": 0,
            "waits_for": "",
            **fields,
        }
        self.add_raw({name: str(value) for name, value in report.items()})
        self._client.incrby("hashes", hashes)

    def see(  # noqa: PLR0917 - as on a report
        self,
        rng: list[Any],
        hasher: list[Any],
        coins: list[Any] = [],  # noqa: B006 - it is not changed
        worker: str = "worker-1-00000001",
        bits: int = 4,
        seconds: float = 1.0,
    ) -> None:
        """What a worker says in its own key; it does so together with its next report, which is to follow."""
        key = {
            "sequence": self._sequence + 1,
            "backends": json.dumps({"seconds": seconds, "rng": rng, "hasher": hasher}),
            "coins": json.dumps({"bits": bits, "latest": coins}),
        }
        self._client.hset(f"worker:{worker}", mapping={name: str(value) for name, value in key.items()})

    def add_totals(self, first: int, count: int, hashes: float, worker: str) -> None:
        """So many ten-second buckets of one worker, which are part of all workers'."""
        for second in range(first, first + 10 * count, 10):
            for key in ("totals", f"totals:{worker}"):
                self._client.hincrbyfloat(key, str(second), hashes)

    def add_raw(self, fields: dict[str, str], entry_id: str = "*") -> None:
        """Any entry."""
        self._client.xadd("reports", dict(fields), id=entry_id)

    def add_seconds(
        self, first: int, count: int, hashes: int = 10, worker: str = "worker-1-00000001", /, **fields: Any
    ) -> None:
        """A report for each of so many whole seconds."""
        for second in range(first, first + count):
            self.add(second, second + 1, hashes, worker, **fields)
