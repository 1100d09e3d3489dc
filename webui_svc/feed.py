"""The one reader of Redis, however many browsers there are.

It reads 15 minutes of reports, then follows them. Redis may go away at any time, and come back with an older state or
an empty one: then the stream may end before what was read last, and waiting for what comes after that would be waiting
for ever. Or another server takes over without a word, which lacks some entries and has others in their place. So with
each read the feed looks whether the stream still has what was read last, and reads all of it again if not; reports that
it has counted are not counted twice.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chassis import log
from chassis.health import Health
from chassis.log import ThrottledLogger
from chassis.redis import errors, schema
from chassis.redis.client import open_client
from chassis.redis.schema import REPORTS_S, MalformedError, Report, decode_report
from chassis.redis.settings import RedisAccess
from chassis.telemetry.latency_histogram import LatencyHistogram
from chassis.timing import deadline
from webui_svc.board import Board
from webui_svc.browsers import Browsers
from webui_svc.keys import Keys
from webui_svc.timeline import steady_us

BLOCK_MS = 1_000
"""How long a read waits for a report; then the feed looks around."""

ANSWER_LIMIT = 2.5
"""Seconds without an answer after which Redis counts as away: longer than a read that waits."""

CONNECT_LIMIT = 1.0
"""Seconds that a connection may take."""

ROUND = 0.25
"""Seconds between two reads: ten workers make no more rounds than one, and a browser gets no more updates. With a
report a second, what was worked shows within 1.5 s."""

PAGE = 1_000
"""Entries a read, some 10 ms of work."""

BACKOFF = (0.05, 1.0)
"""Seconds before the first new attempt and the most before a later one; each is shortened by up to a half at random."""

Id = tuple[int, int]
_NOTHING: Id = (0, 0)


def client(access: RedisAccess) -> Redis:
    """A client for the feed: it leaves trying again, and waiting no longer, to the feed.

    It has no socket timeout of its own: on Python 3.11 a write under redis-py's timeout can swallow the cancellation
    that is to end the feed (asyncio.wait_for does). Answers stay bytes: an entry that is no UTF-8 must spoil nothing
    but itself.
    """
    return open_client(access, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_LIMIT)


async def _answer(command: Any) -> Any:
    """What Redis answers. Raises TimeoutError, which says so, when it does not."""
    async with deadline(ANSWER_LIMIT, "answer"):
        return await command


class Feed:
    """Keeps a board up to date and the browsers told of it.

    It meets the health's condition `redis` once Redis was read, and for good: a page that shows what it knows, and that
    Redis is away, is of more use than none.
    """

    def __init__(self, redis: Redis, names: schema.Keys, board: Board, browsers: Browsers, health: Health) -> None:
        self.malformed = ThrottledLogger("skipped malformed entries of Redis")
        self.lag = LatencyHistogram()
        """Seconds from a report's being written to browsers' being told. What was written before this process followed
        Redis is not counted."""
        self._untold: list[int] = []  # when each report since the last time was written, on the time axis
        self._away = ThrottledLogger("redis is away")
        self._redis = redis
        self._board = board
        self._browsers = browsers
        self._health = health
        self._position: Id | None = None
        self._stream = names.reports
        self._keys = Keys(redis, names, board, _answer, self.malformed)
        self._reporters: set[str] = set()
        self._answered: float | None = None
        self._afresh = False
        """Whether browsers are to get all anew."""

    async def run(self) -> None:
        """Follow Redis for ever."""
        failures = 0
        while True:
            try:
                await self._catch_up()
                failures = 0
                while True:
                    await self._round()
            except (RedisError, OSError) as error:
                connecting = f" within {CONNECT_LIMIT:g} s" if isinstance(error, RedisTimeoutError) else ""
                self._lost(f"{type(error).__name__}: {errors.describe(error)}{connecting}")
            except Exception as error:  # noqa: BLE001 - one odd entry must not end the page; we are past it now
                log.get().exception("the feed failed")
                self._lost(f"{type(error).__name__}: {error}")
            least, most = BACKOFF
            await asyncio.sleep(min(most, least * 2 ** min(failures, 10)) * random.uniform(0.5, 1))  # noqa: S311 - jitter
            failures += 1

    def _lost(self, cause: str) -> None:
        self._away.log(cause=cause)
        self._board.redis = False
        self._tell()

    async def _catch_up(self) -> None:
        afresh = not await self._in_place()
        if self._answered is not None:
            self._board.excuse(time.monotonic() - self._answered)
        if afresh:
            await self._load()
        self._board.settle()  # for the totals that are read next are whole as far as the speed is known
        await self._settle()
        self._board.redis = True
        self._away.clear()
        self._health.set("redis", met=True)
        self._tell()

    async def _round(self) -> None:
        after = _text(self._position or _NOTHING)
        answer = await _answer(self._redis.xread({self._stream: after}, count=PAGE, block=BLOCK_MS))
        entries = answer[0][1] if answer else []
        if not await self._in_place():
            await self._load()
            entries = []
        clock = time.monotonic()
        for entry_id, fields in entries:
            report = self._take(_id(entry_id), fields, lambda _: clock)
            if report is not None:
                self._untold.append(report.redis_us)
        await self._settle()
        self.malformed.flush()
        self._tell()
        if len(entries) < PAGE:
            await asyncio.sleep(ROUND)

    async def _settle(self) -> None:
        reporters, self._reporters = self._reporters, set()
        await self._keys.read(reporters)
        self._answered = time.monotonic()
        self._board.settle()

    def _tell(self) -> None:
        self._board.system.browsers = len(self._browsers)
        self._browsers.tell_changes()
        if self._afresh:
            self._afresh = False
            self._browsers.start_afresh()
        if self._board.redis:  # else what was read last is not settled, and so not told
            now_us = self._board.timeline.now_us
            for written_us in self._untold:
                self.lag.observe(max(0.0, (now_us - written_us) / 1e6))
            self._untold.clear()

    async def _in_place(self) -> bool:
        """Whether the stream goes on from where we are: it has the entry that was read last.

        That it ends later is not enough: a server that took over may lack it, and have others in its place. Reads
        Redis's clock on the way, for what is placed next.
        """
        if self._position is None:
            return False
        where = _text(self._position)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.xrange(self._stream, where, where)
        sent_us = steady_us()
        time_of_redis, found = await _answer(pipeline.execute())
        await self._observe(_microseconds(time_of_redis), sent_us)
        return self._position == _NOTHING or bool(found)

    async def _observe(self, redis_us: int, sent_us: int) -> None:
        if self._board.timeline.observe(redis_us, sent_us):
            # The buckets of the hour have moved, and so has all that browsers were told.
            await self._keys.load()
            self._afresh = True

    async def _load(self) -> None:
        self._afresh = True
        now_us = _microseconds(await _answer(self._redis.time()))
        clock = time.monotonic()

        def heard(redis_us: int) -> float:
            """A report was heard when it was written, not now; long ago if that was before the clock was set back."""
            return clock - ((now_us - redis_us) / 1e6 if redis_us <= now_us else REPORTS_S)

        # Before all else, so that no report is missed that is written in between.
        newest = await self._newest()
        position: Id = (max(0, now_us // 1_000 - REPORTS_S * 1_000), 0)
        self._position = _NOTHING
        while True:
            answer = await _answer(self._redis.xrange(self._stream, min=f"({_text(position)}", count=PAGE))
            for entry_id, fields in answer:
                position = _id(entry_id)
                self._take(position, fields, heard)
            if len(answer) < PAGE:
                break
        if self._position == _NOTHING:  # all that the stream holds is too old to show
            self._position = newest
        sent_us = steady_us()
        await self._observe(_microseconds(await _answer(self._redis.time())), sent_us)
        await self._keys.load()

    async def _newest(self) -> Id:
        newest = await _answer(self._redis.xrevrange(self._stream, count=1))
        return _id(newest[0][0]) if newest else _NOTHING

    def _take(self, position: Id, fields: Mapping[bytes, bytes] | None, heard: Callable[[int], float]) -> Report | None:
        """Have the board take an entry of the stream, heard at a moment of the monotonic clock; None if malformed."""
        self._position = position
        try:
            report = decode_report(fields, position[0])
        except MalformedError as error:
            self.malformed.log(cause=f"report {_text(position)}: {error}")
            return None
        heard_at = heard(report.redis_us)
        report = self._board.timeline.place(report)
        self._board.take(report, heard_at)
        if self._board.speed.workers.is_live(report.worker, time.monotonic()):
            self._reporters.add(report.worker)
        return report


def _microseconds(time_of_redis: tuple[int, int]) -> int:
    seconds, microseconds = time_of_redis
    return int(seconds) * 1_000_000 + int(microseconds)


def _id(raw: bytes) -> Id:
    milliseconds, _, sequence = raw.partition(b"-")
    return int(milliseconds), int(sequence)


def _text(position: Id) -> str:
    return f"{position[0]}-{position[1]}"
