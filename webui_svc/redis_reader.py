"""The one reader of Redis, however many browsers there are.

It reads 15 minutes of reports, then follows them. Redis may become unreachable at any time, and return with an older
state or an empty one: then the stream may end before the entry that was read last, and waiting for the entries after
that one would never end. Or another server takes over, whose stream lacks some entries and has others in their place.
So with each read the reader checks that the stream still has the entry that it read last, and reads all of it again if
not; reports that were counted are not counted twice.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chassis import log
from chassis.health import Health
from chassis.log import ThrottledLogger
from chassis.redis import errors, schema
from chassis.redis.client import open_client
from chassis.redis.schema import BUCKET_S, MAX_ANNOTATIONS, MAX_LOAD_TESTS, REPORTS_S, Keys, MalformedError, Report
from chassis.redis.settings import RedisAccess
from chassis.telemetry.metrics import LatencyHistogram
from chassis.timing import deadline
from webui_svc.speed import MAX_HOURS
from webui_svc.sse import Browsers
from webui_svc.state import DashboardState
from webui_svc.timeline import STEP_US, steady_us

# How long a read waits for a report. Redis counts as unreachable after REPLY_LIMIT_S without a reply.
BLOCK_MS = 1_000
# The speed of a worker that counts no batch falls without its reports.
STALLED_BLOCK_MS = 250
REPLY_LIMIT_S = 2.5
CONNECT_LIMIT_S = 1.0

# The time between two reads: ten workers make no more rounds than one, and a browser gets no more updates. With one
# report per second, what was worked shows within 1.7 s.
ROUND_S = 0.6

# Entries per read, and workers whose buckets are read at a time: some 10 ms of work each.
PAGE = 1_000
WORKERS_PER_READ = 50

# The pause before the first new attempt, and the longest one; each is shortened by up to a half at random.
MIN_PAUSE_S = 0.05
MAX_PAUSE_S = 1.0

# The time between two reads of the ten-second buckets, and of what else changes rarely.
REST_EVERY_S = 5.0

# How much of a worker's buckets is read again: reports wait for up to 60 s while Redis is unavailable.
RECENT_S = 130

# An entry of the stream: its id, and its fields unless it was deleted.
Entry = tuple[bytes, Mapping[bytes, bytes] | None]

# The id before all entries.
_NOTHING = b"0-0"

_T = TypeVar("_T")


def open_reader_client(access: RedisAccess) -> Redis:
    """Return a client that leaves retries and limits to the reader.

    It has no socket timeout of its own: on Python 3.11 a write under redis-py's timeout can swallow the cancellation
    that is to end the reader (asyncio.wait_for does). Replies stay bytes: an entry that is not UTF-8 must spoil nothing
    but itself.
    """
    return open_client(access, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_LIMIT_S)


async def _reply(command: Any) -> Any:
    async with deadline(REPLY_LIMIT_S, "reply"):
        return await command


async def _query(redis: Redis, *commands: tuple[Any, ...]) -> list[Any]:
    """Return the replies to commands that are sent together; some may be errors."""
    pipeline = redis.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = await _reply(pipeline.execute(raise_on_error=False))
    return replies


class RedisSnapshot:
    """What Redis holds beside the stream: counts, the workers' own keys, buckets of an hour, and load tests."""

    def __init__(self, redis: Redis, keys: Keys, state: DashboardState, malformed: ThrottledLogger) -> None:
        self._redis = redis
        self._keys = keys
        self._state = state
        self._malformed = malformed
        self._sequences: dict[str, bytes] = {}
        self._changed: set[str] = set()  # workers whose buckets changed
        self._rest_due = 0.0
        self._load_tests: list[bytes] = []
        # Whether the hour of every worker is to be read: at first, and when Redis's state or clock is another one.
        self.hour_is_stale = True

    def commands(self, workers: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the commands that read the counts and the keys of these workers."""
        fields = "sequence", "replicas", "coins"
        counts = "MGET", self._keys.hashes, self._keys.coins
        return [counts, *(("HMGET", self._keys.worker(worker), *fields) for worker in workers)]

    def ingest(self, workers: Sequence[str], replies: Sequence[Any]) -> None:
        """Ingest the replies to the commands for these workers."""
        self._changed.update(workers)
        hashes, coins = self._apply("hashes, coins", replies[0], tuple) or (None, None)
        self._state.hashes = self._apply(self._keys.hashes, hashes, schema.decode_count) or 0
        self._state.coins = self._apply(self._keys.coins, coins, schema.decode_count) or 0
        for worker, fields in zip(workers, replies[1:], strict=True):
            self._apply(self._keys.worker(worker), fields, partial(self._ingest, worker))

    async def read_rest(self) -> None:
        """Read what changes rarely, if it is time to, and all of the hour if it is stale."""
        if self.hour_is_stale:
            await self._read_hour()
        elif time.monotonic() < self._rest_due:
            return
        now = int(self._state.now()) // BUCKET_S * BUCKET_S
        recent = [b"%d" % second for second in range(now - RECENT_S, now + 2 * BUCKET_S, BUCKET_S)]
        changed = sorted(self._changed)
        load_tests, totals, *replies = await _query(
            self._redis,
            ("LRANGE", self._keys.load_tests, 0, MAX_LOAD_TESTS - 1),
            ("HGETALL", self._keys.totals),
            *(("HMGET", self._keys.worker_totals(worker), *recent) for worker in changed),
        )
        for worker, values in zip(changed, replies, strict=True):
            self._update_hour(
                worker, values, lambda values: schema.decode_buckets(dict(zip(recent, values, strict=True)))
            )
        self._apply(self._keys.totals, totals, lambda raw: self._state.set_totals(schema.decode_buckets(raw)))
        self._apply(self._keys.load_tests, load_tests, self._ingest_load_tests)
        self._changed.clear()
        known = self._state.speed.workers
        self._sequences = {worker: last for worker, last in self._sequences.items() if worker in known}
        self._rest_due = time.monotonic() + REST_EVERY_S

    def _ingest(self, worker: str, fields: Sequence[bytes | None]) -> None:
        sequence, replicas, coins = fields
        if sequence is None or self._sequences.get(worker) == sequence:
            return  # it was read before, with the report before this one
        self._sequences[worker] = sequence
        if replicas is not None:
            self._state.ingest_replicas(worker, schema.decode_replicas(replicas))
        if coins is not None:
            self._state.ingest_coins(worker, schema.decode_coins(coins))

    def _ingest_load_tests(self, stored: list[bytes]) -> None:
        if stored != self._load_tests:
            self._load_tests = stored
            reports = [self._apply(self._keys.load_tests, raw, schema.decode_load_test) for raw in stored]
            self._state.set_load_tests([report for report in reports if report is not None])

    def _update_hour(self, worker: str, reply: Any, decode: Callable[[Any], dict[int, float]]) -> None:
        if buckets := self._apply(self._keys.worker_totals(worker), reply, decode):
            self._state.hour.update_worker(worker, buckets)

    async def _read_hour(self) -> None:
        self._state.hour.forget_workers()
        (newest,) = await _query(self._redis, ("ZREVRANGE", self._keys.workers, 0, MAX_HOURS))
        workers = self._apply(self._keys.workers, newest, schema.decode_worker_ids) or []
        for first in range(0, len(workers), WORKERS_PER_READ):
            chunk = workers[first : first + WORKERS_PER_READ]
            replies = await _query(self._redis, *(("HGETALL", self._keys.worker_totals(worker)) for worker in chunk))
            for worker, buckets in zip(chunk, replies, strict=True):
                self._update_hour(worker, buckets, schema.decode_buckets)
        self.hour_is_stale = False

    def _apply(self, key: str, reply: Any, use: Callable[[Any], _T]) -> _T | None:
        """Return what a function makes of a reply, or None if it is malformed, as when the key has another type."""
        try:
            if isinstance(reply, ResponseError) and not isinstance(reply, NoPermissionError):
                raise MalformedError(str(reply))  # noqa: TRY301 - handled as other malformed values
            if isinstance(reply, Exception):
                raise reply
            return use(reply)
        except MalformedError as error:
            self._malformed.log(cause=f"{key}: {error}")
            return None


class RedisReader:
    """Keeps the dashboard's state up to date, and publishes it to the browsers.

    It meets the health's condition `redis` once Redis was read, and for good: a page that shows the last state, and
    that Redis is unreachable, is more useful than none.
    """

    def __init__(self, redis: Redis, keys: Keys, state: DashboardState, browsers: Browsers, health: Health) -> None:
        self.malformed = ThrottledLogger("skipped malformed entries of Redis")
        # From a report's being written to its being published. Reports of before this process followed do not count.
        self.lag = LatencyHistogram()
        self._unavailable = ThrottledLogger("Redis is unavailable")
        self._redis = redis
        self._state = state
        self._browsers = browsers
        self._health = health
        self._stream = keys.reports
        self._annotations = keys.annotations
        self._annotations_position = _NOTHING
        # The id of the entry that was read last; None before anything was read.
        self._position: bytes | None = None
        self._snapshot = RedisSnapshot(redis, keys, state, self.malformed)
        self._replied_at: float | None = None
        self._reset = False  # whether browsers are to get a new snapshot

    async def run(self) -> None:
        """Follow Redis until cancelled."""
        failures = 0
        while True:
            try:
                await self._round([])
                failures = 0
                while True:
                    entries, annotations = await self._next_entries()
                    self._ingest_annotations(annotations)
                    await self._round(entries)
                    if len(entries) < PAGE:
                        await asyncio.sleep(ROUND_S)
            except (RedisError, OSError) as error:
                limit = f" within {CONNECT_LIMIT_S:g} s" if isinstance(error, RedisTimeoutError) else ""
                self._mark_unavailable(f"{type(error).__name__}: {errors.describe(error)}{limit}")
            except Exception as error:  # noqa: BLE001 - one odd entry must not end the page; it was passed by now
                log.get().exception("the Redis reader failed")
                self._mark_unavailable(f"{type(error).__name__}: {error}")
            pause = min(MAX_PAUSE_S, MIN_PAUSE_S * 2 ** min(failures, 10))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
            failures += 1

    def _mark_unavailable(self, cause: str) -> None:
        self._unavailable.log(cause=cause)
        self._state.redis_available = False
        self._publish()

    def _mark_available(self) -> None:
        self._replied_at = time.monotonic()
        if not self._state.redis_available:
            self._state.redis_available = True
            self._unavailable.clear()
            if self._unavailable.times:
                log.get().info("Redis is available again")
            self._health.set("redis", met=True)

    async def _next_entries(self) -> tuple[list[Entry], list[Entry]]:
        """Return new entries of the reports and of the annotations."""
        streams: dict[Any, Any] = {
            self._stream: self._position or _NOTHING,
            self._annotations: self._annotations_position,
        }
        block_ms = STALLED_BLOCK_MS if self._state.speed.is_stalled(time.monotonic()) else BLOCK_MS
        reply = await _reply(self._redis.xread(streams, count=PAGE, block=block_ms))
        entries = {name.decode(): entries for name, entries in reply or ()}
        return entries.get(self._stream, []), entries.get(self._annotations, [])

    def _ingest_annotations(self, entries: Sequence[Entry]) -> None:
        for entry_id, fields in entries:
            self._annotations_position = entry_id
            try:
                self._state.ingest_annotation(schema.decode_annotation(fields))
            except MalformedError as error:
                self.malformed.log(cause=f"annotation {entry_id.decode()}: {error}")

    async def _round(self, entries: Sequence[Entry]) -> None:
        """Ingest new entries of the stream, and what else Redis holds; publish what has changed.

        If the stream does not go on from the position, this ingests all of it instead.
        """
        reports = self._decoded(entries)
        workers = list({report.worker for report in reports})
        replies = await self._read(workers)
        if self._replied_at is not None and not self._state.redis_available:
            self._state.ignore_gap(time.monotonic() - self._replied_at)
        placed: list[Report] = []
        if replies is None:
            await self._load()
        else:
            if entries:
                self._position = entries[-1][0]
            clock = time.monotonic()
            placed = [new for report in reports if (new := self._state.ingest(report, clock))]
            self._snapshot.ingest(workers, replies)
        self._state.finalize()
        await self._snapshot.read_rest()
        self._mark_available()
        self.malformed.flush()
        self._publish()
        now_us = self._state.timeline.now_us
        for report in placed:
            self.lag.observe(max(0.0, (now_us - report.redis_us) / 1e6))

    def _publish(self) -> None:
        self._state.topology.browsers = len(self._browsers)
        self._browsers.publish()
        if self._reset:
            self._reset = False
            self._browsers.reset()

    async def _read(self, workers: Sequence[str]) -> list[Any] | None:
        """Return the replies to the request for a snapshot; None if the stream does not go on from the position.

        It goes on if it has the entry that was read last. That it ends later is not enough: a server that took over may
        lack it, and have others in its place. This reads Redis's clock, too, for what is placed next.
        """
        if self._position is None:
            return None
        sent_us = steady_us()
        in_place = "XRANGE", self._stream, self._position, self._position
        time_of_redis, found, *replies = await _query(
            self._redis, ("TIME",), in_place, *self._snapshot.commands(workers)
        )
        for each in (time_of_redis, found):
            if isinstance(each, Exception):
                raise each
        self._observe(_microseconds(time_of_redis), sent_us)
        return replies if self._position == _NOTHING or found else None

    def _observe(self, redis_us: int, sent_us: int) -> None:
        if self._state.timeline.observe(redis_us, sent_us):
            # The buckets of the hour have moved, and so has all that was published.
            self._reset = self._snapshot.hour_is_stale = True

    async def _load(self) -> None:
        """Ingest all of the stream that is not too old to show, and what else Redis holds of its workers."""
        self._reset = self._snapshot.hour_is_stale = True
        now_us = _microseconds(await _reply(self._redis.time()))
        clock = time.monotonic()

        def seen(redis_us: int) -> float:
            """Return when a report was seen: when it was written, or long ago if the clock was set back since."""
            age_us = now_us - redis_us
            reading_us = (time.monotonic() - clock) * 1e6
            return clock - (age_us / 1e6 if age_us >= -reading_us - STEP_US else REPORTS_S)

        # Before all else, so that no report is missed that is written in between.
        newest = await self._newest()
        self._position = start = b"%d-0" % max(0, now_us // 1_000 - REPORTS_S * 1_000)
        try:
            while True:
                entries = await _reply(self._redis.xrange(self._stream, min=b"(" + self._position, count=PAGE))
                if entries:
                    self._position = entries[-1][0]
                for report in self._decoded(entries):
                    self._state.ingest(report, seen(report.redis_us))
                if len(entries) < PAGE:
                    break
        except (RedisError, OSError):
            self._position = None  # what was not read is not new when it is read later
            raise
        if self._position == start:  # all that the stream holds is too old to show
            self._position = newest
        sent_us = steady_us()
        self._observe(_microseconds(await _reply(self._redis.time())), sent_us)
        annotations = await _reply(self._redis.xrevrange(self._annotations, count=MAX_ANNOTATIONS))
        self._annotations_position = _NOTHING
        self._ingest_annotations(annotations[::-1])
        workers = list(self._state.speed.live(time.monotonic()))
        if (replies := await self._read(workers)) is not None:
            self._snapshot.ingest(workers, replies)

    async def _newest(self) -> bytes:
        entries: list[Entry] = await _reply(self._redis.xrevrange(self._stream, count=1))
        return entries[0][0] if entries else _NOTHING

    def _decoded(self, entries: Sequence[Entry]) -> list[Report]:
        """Return the reports in entries of the stream."""
        reports = []
        for entry_id, fields in entries:
            try:
                reports.append(schema.decode_report(fields, int(entry_id.partition(b"-")[0])))
            except MalformedError as error:
                self.malformed.log(cause=f"report {entry_id.decode()}: {error}")
        return reports


def _microseconds(time_of_redis: tuple[int, int]) -> int:
    seconds, microseconds = time_of_redis
    return int(seconds) * 1_000_000 + int(microseconds)
