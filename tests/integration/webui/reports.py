from typing import Any

from support.redis_server import RedisServer


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
            **fields,
        }
        self.add_raw({name: str(value) for name, value in report.items()})
        self._client.incrby("hashes", hashes)

    def add_raw(self, fields: dict[str, str], entry_id: str = "*") -> None:
        """Any entry."""
        self._client.xadd("reports", dict(fields), id=entry_id)

    def add_seconds(self, first: int, count: int, hashes: int = 10, **fields: Any) -> None:
        """A report for each of so many whole seconds."""
        for second in range(first, first + count):
            self.add(second, second + 1, hashes, **fields)
