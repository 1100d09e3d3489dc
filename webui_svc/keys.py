"""What Redis holds beside the stream of reports, read in one go a round: counts, workers' own keys, totals."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from chassis.log import ThrottledLogger
from chassis.redis import schema
from chassis.redis.schema import BUCKET_S, MAX_LOAD_TESTS, MalformedError
from webui_svc.board import Board
from webui_svc.worker_totals import MOST_WORKERS

TOTALS_EVERY = 5.0
"""Seconds between two reads of the ten-second buckets, and of what else changes rarely."""

RECENT = 130
"""Seconds of a worker's buckets that are read again: reports wait for up to 60 while Redis is away."""

SCAN_COUNT = 1_000
SCAN_MOST = 100
"""Keys that Redis looks at a step, and steps: a Redis that is used for other things as well may hold millions."""

PIPELINE = 50
"""Workers whose buckets are read at a time, some 10 ms of work."""


class Keys:
    """Keeps a board's figures up to date. `answer` bounds how long Redis may take."""

    def __init__(
        self, redis: Redis, names: schema.Keys, board: Board, answer: Callable[[Any], Any], malformed: ThrottledLogger
    ) -> None:
        self._redis = redis
        self._names = names
        self._board = board
        self._answer = answer
        self._malformed = malformed
        self._sequences: dict[str, bytes] = {}
        self._stale: set[str] = set()  # workers whose buckets changed
        self._totals_due = 0.0
        self._newest_load_test: bytes | None = None
        self._count_of_load_tests = 0

    async def load(self) -> None:
        """Read the hour of every worker."""
        self._board.worker_totals.clear()
        self._totals_due = 0.0
        workers = await self._workers_with_totals()
        for first in range(0, len(workers), PIPELINE):
            chunk = workers[first : first + PIPELINE]
            pipeline = self._redis.pipeline(transaction=False)
            for worker in chunk:
                pipeline.hgetall(self._names.totals_of(worker))
            answers = await self._answer(pipeline.execute(raise_on_error=False))
            for worker, buckets in zip(chunk, answers, strict=True):
                if self._fine(self._names.totals_of(worker), buckets):
                    self._board.worker_totals.set(worker, schema.decode_buckets(buckets))

    async def read(self, reporters: Iterable[str]) -> None:
        """Read the counts, what these workers say of themselves, and now and then the rest."""
        workers = list(reporters)
        self._stale.update(workers)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.mget(self._names.hashes, self._names.coins)
        for worker in workers:
            pipeline.hmget(self._names.worker(worker), "sequence", "replicas", "coins")
        counts, *answers = await self._answer(pipeline.execute(raise_on_error=False))
        hashes, found = counts if self._fine("hashes, coins", counts) else (None, None)
        self._board.hashes = self._number("hashes", hashes)
        self._board.coins = self._number("coins", found)
        for worker, fields in zip(workers, answers, strict=True):
            if self._fine(self._names.worker(worker), fields):
                self._take(worker, *fields)
        if time.monotonic() >= self._totals_due:
            await self._read_totals()
            await self._read_load_tests()
            self._totals_due = time.monotonic() + TOTALS_EVERY

    def _take(self, worker: str, sequence: bytes | None, view: bytes | None, found: bytes | None) -> None:
        if sequence is None or self._sequences.get(worker) == sequence:
            return  # it was read before, with the report before this one
        self._sequences[worker] = sequence
        try:
            if view is not None:
                self._board.take_view(worker, schema.decode_replicas(view), time.monotonic())
            if found is not None:
                self._board.take_found(worker, schema.decode_coins(found))
        except MalformedError as error:
            self._malformed.log(cause=f"{self._names.worker(worker)}: {error}")

    async def _workers_with_totals(self) -> list[str]:
        workers: set[str] = set()
        cursor = 0
        prefix = self._names.totals_of_workers
        for _ in range(SCAN_MOST):
            cursor, names = await self._answer(self._redis.scan(cursor, match=f"{prefix}*", count=SCAN_COUNT))
            ids = (name[len(prefix) :] for name in names)
            workers.update(each for each in map(schema.decode_worker_id, ids) if each)
            if not cursor or len(workers) >= MOST_WORKERS:
                break
        return sorted(workers)[:MOST_WORKERS]

    async def _read_totals(self) -> None:
        now = int(self._board.now()) // BUCKET_S * BUCKET_S
        recent = [str(second) for second in range(now - RECENT, now + 2 * BUCKET_S, BUCKET_S)]
        stale, self._stale = sorted(self._stale), set()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(self._names.totals)
        for worker in stale:
            pipeline.hmget(self._names.totals_of(worker), recent)
        buckets, *answers = await self._answer(pipeline.execute(raise_on_error=False))
        for worker, values in zip(stale, answers, strict=True):
            if self._fine(self._names.totals_of(worker), values):
                known = {second.encode(): value for second, value in zip(recent, values, strict=True) if value}
                self._board.worker_totals.set(worker, schema.decode_buckets(known))
        if self._fine(self._names.totals, buckets):
            self._board.set_totals(schema.decode_buckets(buckets))
        workers = self._board.speed.workers
        self._sequences = {worker: last for worker, last in self._sequences.items() if worker in workers}

    async def _read_load_tests(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.llen(self._names.load_tests)
        pipeline.lindex(self._names.load_tests, 0)
        count, newest = await self._answer(pipeline.execute(raise_on_error=False))
        if not self._fine(self._names.load_tests, count) or not self._fine(self._names.load_tests, newest):
            return
        if (count, newest) != (self._count_of_load_tests, self._newest_load_test):
            stored: Sequence[bytes] = await self._answer(
                self._redis.lrange(self._names.load_tests, 0, MAX_LOAD_TESTS - 1)
            )
            for problem in self._board.load_tests.set(stored):
                self._malformed.log(cause=problem)
            self._count_of_load_tests, self._newest_load_test = count, newest

    def _fine(self, key: str, answer: object) -> bool:
        """Whether this is an answer and no error, as for a key of another type."""
        if isinstance(answer, ResponseError) and not isinstance(answer, NoPermissionError):
            self._malformed.log(cause=f"{key}: {answer}")
            return False
        if isinstance(answer, Exception):
            raise answer
        return True

    def _number(self, key: str, value: bytes | None) -> int:
        try:
            return schema.decode_count(value)
        except MalformedError as error:
            self._malformed.log(cause=f"{key}: {error}")
            return 0
