"""What workers write to Redis, for tests of what webui makes of it."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import asdict

from chassis.redis.schema import Report
from chassis.settings import Pace

WORKER = "worker-1-00000001"


def make_report(begin: float, end: float, hashes: int = 10, worker: str = WORKER, **changes: Any) -> Report:
    """Return a report of an interval in seconds, which Redis took at its end."""
    end_us = round(end * 1e6)
    fields: dict[str, Any] = {
        "hashes": hashes,
        "begin_us": round(begin * 1e6),
        "end_us": end_us,
        "instance": worker.rpartition("-")[0] or worker,
        "sequence": 2,  # of a worker's first report, half a batch is not shown
        "coins": 0,
        "batch_size": 1,
        "pace": Pace.CLASSIC,
        "report_interval_us": 1_000_000,
        "sent_us": end_us,
        "redis_us": end_us,
        "stalled_since_us": 0,
        "waits_for": "",
    }
    return Report(worker=worker, **(fields | changes))


def replica(name: str, state: str = "serving", batches: int = 3, bucket: int = 67) -> dict[str, Any]:
    """Return what a worker reports of a replica; all batches took the time of one bucket, a tenth of a second."""
    latency = {str(bucket): batches} if batches else {}
    return {"name": name, "address": f"{name}:50051", "state": state, "batches": batches, "latency": latency}


def worker_key(
    sequence: int, rng: Sequence[Any], hasher: Sequence[Any], coins: Sequence[Any] = (), seconds: float = 1.0
) -> dict[str, Any]:
    """Return the fields of a worker's own key."""
    return {
        "sequence": sequence,
        "replicas": json.dumps({"seconds": seconds, "window": 1, "rng": rng, "hasher": hasher}),
        "coins": json.dumps({"bits": 4, "latest": coins}),
    }


class Reports:
    """Writes to Redis, through a client or a pipeline, what a worker writes."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._sequence = 1

    def add(self, begin: float, end: float, hashes: int = 10, worker: str = WORKER, **changes: object) -> None:
        """Add a report that Redis takes now; the fields in `changes` may hold what no worker writes."""
        self._sequence += 1
        now_us = time.time_ns() // 1_000
        taken = {"sequence": self._sequence, "sent_us": now_us, "redis_us": now_us}
        self.add_raw(asdict(make_report(begin, end, hashes, worker)) | taken | changes)
        self.client.incrby("hashes", hashes)

    def add_seconds(self, first: int, count: int, hashes: int = 10, worker: str = WORKER, **changes: object) -> None:
        """Add a report for each of some whole seconds."""
        for second in range(first, first + count):
            self.add(second, second + 1, hashes, worker, **changes)

    def add_raw(self, fields: Mapping[Any, Any], entry_id: str = "*") -> None:
        self.client.xadd("reports", dict(fields), id=entry_id)

    def add_totals(self, first: int, count: int, hashes: float, worker: str = WORKER) -> None:
        """Add to ten-second buckets of one worker and of all workers."""
        self.client.zadd("workers", {worker: time.time(), "": time.time()})
        for second in range(first, first + 10 * count, 10):
            for key in ("totals", f"totals:{worker}"):
                self.client.hincrbyfloat(key, str(second), hashes)

    def annotate(self, at: float, kind: str, service: str, *names: str, value: str = "") -> None:
        """Add an annotation of a moment."""
        times = dict.fromkeys(("at_us", "until_us", "redis_us"), round(at * 1e6))
        about = {"kind": kind, "service": service, "names": " ".join(names), "count": len(names)}
        self.client.xadd("annotations", {**about, "to": "", "value": value, **times})

    def see(
        self, rng: Sequence[Any] = (), hasher: Sequence[Any] = (), coins: Sequence[Any] = (), worker: str = WORKER
    ) -> None:
        """Write a worker's own key, which webui reads together with the report that is added next."""
        self.client.hset(f"worker:{worker}", mapping=worker_key(self._sequence + 1, rng, hasher, coins))
