"""What Redis holds, compared with what workers logged and what hashers saw, to the last hash.

A worker numbers its batches and its reports 1, 2, 3 and so on. So what is lost or counted twice leaves a hole or a sum
that does not fit, however often a batch was asked and answered.
"""

import re
from collections import defaultdict
from hashlib import sha256
from typing import Any

from redis import Redis
from support.redis_server import RedisServer
from support.service_process import ServiceProcess
from system.discovery.server_log import ServerLog

UNITS = re.compile(r"(\d+) units of work done")

GIVEN_UP = "batches unanswered, not counted"
"""What a worker says that was told to stop while nobody answered."""


class Accounts:
    """Of all workers that asked these rngs and hashers and reported to this Redis; each has an instance of its own."""

    def __init__(self, redis: RedisServer, random: ServerLog, hashed: ServerLog, batch_size: int) -> None:
        client = redis.client()
        self._hashes = int(client.get("hashes") or 0)
        raw: Any = Redis(port=redis.port)
        self._wallet: dict[bytes, bytes] = raw.hgetall("wallet")
        self._batch_size = batch_size
        self._random = _by_instance(random)
        self._hashed = _by_instance(hashed)
        self._reports: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """Sequence numbers and hashes, by instance, in the order in which Redis took them."""
        for _, entry in client.xrange("reports"):
            self._reports[entry["instance"]].append((int(entry["sequence"]), int(entry["hashes"])))

    def settle(self, *workers: ServiceProcess) -> None:
        """Raise AssertionError unless these, which have ended, were the only ones, and all is in order."""
        instances = {worker.instance for worker in workers}
        assert instances >= self._reports.keys() | self._random.keys() | self._hashed.keys()
        for worker in workers:
            self._settle_one(worker)
        reported = sum(hashes for reports in self._reports.values() for _, hashes in reports)
        assert self._hashes == reported
        assert all(sha256(message).hexdigest().encode() == digest for digest, message in self._wallet.items())

    def _settle_one(self, worker: ServiceProcess) -> None:
        logged = [int(units) for units in UNITS.findall(worker.text)]
        reports = self._reports[worker.instance]
        completed = self._hashed[worker.instance]
        reported = sum(hashes for _, hashes in reports)
        # Each report is there once and is what was logged; a worker logs a report before it sends it.
        assert reports == list(enumerate(logged[: len(reports)], 1)), worker.text
        assert completed <= self._random[worker.instance], worker.text
        if worker.popen.returncode != 0:
            assert len(reports) >= len(logged) - 1, worker.text
            assert reported <= self._batch_size * len(completed), worker.text
            return
        assert len(reports) == len(logged), worker.text
        if GIVEN_UP in worker.text:
            assert reported <= self._batch_size * len(completed), worker.text
        else:
            assert reported == self._batch_size * len(completed), worker.text
            assert completed == set(range(1, len(completed) + 1)), worker.text


def _by_instance(log: ServerLog) -> dict[str, set[int]]:
    """The batches that were answered, for each worker, whose id is its instance and eight digits."""
    batches: dict[str, set[int]] = defaultdict(set)
    for client, answered in log.completed.items():
        batches[client.rpartition("-")[0]] |= answered
    return batches
