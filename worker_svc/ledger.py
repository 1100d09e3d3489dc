"""Sends reports to Redis: each is counted once, whatever happens to the connection or to Redis."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING

from msgspec.structs import replace
from redis.exceptions import NoScriptError, RedisError

from chassis import log
from chassis.log import ThrottledLogger
from chassis.redis import errors
from chassis.redis.client import open_client
from chassis.redis.schema import Report, report_arguments
from chassis.telemetry.metrics import LatencyHistogram
from chassis.timing import deadline, sleep_unless, steady_s
from worker_svc.retry import Backoff
from worker_svc.settings import WorkerSettings
from worker_svc.tally import Entry

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

    from chassis.telemetry.tracing import Span, Tracing

# Reports that queue up while Redis is unavailable, one per second; then mining pauses.
MAX_UNACKNOWLEDGED = 60

# How long acknowledged reports are kept while Redis responds. They may be lost when it is restored from an older state,
# or when a replica takes over that did not have everything yet.
KEPT_S = 10.0

# The same while it does not respond: a takeover may take long. Redis keeps a worker's sequence number for a day
# (ledger.lua), and would count its reports again after that.
KEPT_UNAVAILABLE_S = 3_600.0

# How long a Redis that has no report of ours, although it acknowledged some, is taken for another one that has its name
# for a while. After that it counts as emptied.
FOREIGN_LIMIT_S = 60.0

# The pause between attempts in flush().
FLUSH_PAUSE_S = 0.2

# The time in which Redis must accept a connection and respond.
RESPONSE_LIMIT_S = 2.0


class _ForeignLedgerError(RedisError):
    """Redis has no report of this worker, although it acknowledged some."""


class Ledger:
    """Sends reports in the order of their sequence numbers, and again until they are acknowledged."""

    def __init__(self, settings: WorkerSettings, worker_id: str, tracing: "Tracing | None" = None) -> None:
        # Reports that Redis has counted; attempts to send one again; and the seconds of Redis's responses.
        self.counted = 0
        self.resent = 0
        self.latency = LatencyHistogram()
        # Whether the last attempt to reach Redis failed.
        self.unavailable = False
        # Is called when `accepting` may have changed.
        self.on_change: Callable[[], None] = lambda: None
        # Is called with each report that Redis has counted, once, in their order.
        self.on_counted: Callable[[Report], None] = lambda _: None
        self._wallet_limit = settings.wallet_limit
        self._tracing = tracing
        self._redis = open_client(
            settings.redis,
            # deadline() bounds them below: with its own limits redis-py uses asyncio.wait_for, which before Python 3.12
            # can swallow a cancellation (measured: 13 of 300), and the worker would not stop.
            socket_timeout=None,
            socket_connect_timeout=None,
        )
        self._keys = settings.redis.keys.for_report(worker_id)
        script = resources.files(__package__).joinpath("ledger.lua").read_text()
        self._script: AsyncScript = self._redis.register_script(script)
        # With the time at which they were made or, from then on, acknowledged, on the steady clock.
        self._entries: deque[tuple[Entry, float]] = deque()
        # The highest sequence numbers that Redis has acknowledged, and that were sent.
        self._acknowledged = 0
        self._attempted = 0
        self._added = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._flushing = asyncio.Event()
        self._coins_kept = 0
        self._unavailable_logger = ThrottledLogger("Redis is unavailable, reports are queued", to="redis")
        self._log = log.get(to="redis")
        # Whether Redis has ever accepted a request, and whether it refuses all that is sent now.
        self._connected = False
        self._refused = False
        # Since when Redis has had no report of ours that it acknowledged.
        self._foreign_since: float | None = None

    @property
    def unreported_hashes(self) -> int:
        """Hashes in reports that Redis has not acknowledged."""
        return sum(entry.report.hashes for entry in self._unacknowledged())

    @property
    def full(self) -> bool:
        """Whether no more reports should be made until Redis has acknowledged some."""
        return len(self._unacknowledged()) >= MAX_UNACKNOWLEDGED

    @property
    def accepting(self) -> bool:
        """Whether Redis lets this worker in, and there is room for reports that can't be sent to it now."""
        return self._connected and not self._refused and not self.full

    @property
    def flushed(self) -> bool:
        """Whether all reports are acknowledged."""
        return self._flushed.is_set()

    @property
    def wallet_open(self) -> bool:
        """Whether the wallet, as last seen, has room."""
        return self._coins_kept < self._wallet_limit

    def add(self, entry: Entry) -> None:
        """Send a report as soon as possible."""
        self._entries.append((entry, steady_s()))
        self._flushed.clear()
        self._added.set()
        self.on_change()

    async def run(self) -> None:
        """Connect to Redis, then send reports as they are added, until cancelled."""
        backoff = Backoff()
        attempt = 0
        while True:
            self._forget(KEPT_UNAVAILABLE_S)
            unacknowledged = self._unacknowledged()
            if self._connected and not unacknowledged:
                self._flushed.set()
                self._added.clear()
                await self._added.wait()
                continue
            try:
                if self._connected:
                    attempt += 1
                    await self._send(unacknowledged[0], attempt)
                else:
                    await self._connect()
            except (RedisError, OSError, TimeoutError) as error:
                self.unavailable = True
                if not isinstance(error, _ForeignLedgerError):
                    self._foreign_since = None
                    self._unavailable_logger.log(cause=errors.describe(error), hashes=self.unreported_hashes)
                self._refused = errors.is_permanent(error)
                if errors.is_eviction(error):
                    # The sequence number may be evicted; what Redis has counted would be counted again.
                    self._forget(0.0)
                self.on_change()
                if self._flushing.is_set():
                    await asyncio.sleep(FLUSH_PAUSE_S)
                else:
                    await sleep_unless(self._flushing, backoff.next_delay())
            else:
                self._refused = False
                self._forget(KEPT_S)
                self._unavailable_logger.clear()
                if self.unavailable:
                    self.unavailable = False
                    self._log.info("Redis is available again", hashes=self.unreported_hashes)
                backoff.reset()
                attempt = 0
                self.on_change()

    async def _connect(self) -> None:
        async with deadline(RESPONSE_LIMIT_S, "connection, or no response on it,"):
            # Without a report, the script fails on all that a report would fail on.
            _, self._coins_kept = await self._script(keys=self._keys)
        self._connected = True

    def _unacknowledged(self) -> list[Entry]:
        return [entry for entry, _ in self._entries if entry.report.sequence > self._acknowledged]

    def _forget(self, kept_s: float) -> None:
        now = steady_s()
        while self._entries:
            entry, since = self._entries[0]
            if entry.report.sequence > self._acknowledged or now - since <= kept_s:
                return
            self._entries.popleft()

    async def _send(self, entry: Entry, attempt: int) -> None:
        sequence = entry.report.sequence
        if sequence <= self._attempted:
            self.resent += 1
        self._attempted = max(self._attempted, sequence)
        began = time.monotonic()
        report = replace(entry.report, sent_us=entry.report.end_us + round((began - entry.end) * 1e6))
        arguments = report_arguments(
            report,
            entry.replicas,
            entry.coins,
            # Only a Redis that is known to be behind gets a report that does not follow the last one it has.
            oldest_sequence=1 if self._acknowledged == self.counted else self._entries[0][0].report.sequence,
            wallet=entry.wallet,
            wallet_limit=self._wallet_limit,
            changes=entry.changes,
            leaving=entry.leaving,
        )
        with self._span(report, attempt):
            async with deadline(RESPONSE_LIMIT_S, f"response to report {sequence}"):
                held, coins_kept = await self._apply(arguments)
        if self._acknowledged and not held:
            self._raise_if_foreign()
        self._foreign_since = None
        self._coins_kept = coins_kept
        self.latency.observe(time.monotonic() - began)
        self._acknowledge(held)

    def _acknowledge(self, held: int) -> None:
        """Take the sequence number that Redis holds for the last one that it has counted."""
        if held < self._acknowledged:
            self._log.warning(
                "the ledger in Redis is behind, sending reports again", held=held, acknowledged=self._acknowledged
            )
        for number, (each, _) in enumerate(self._entries):
            if self._acknowledged < each.report.sequence <= held:
                self._entries[number] = each, steady_s()
                if each.report.sequence > self.counted:  # and not for the second time
                    self.on_counted(each.report)
        self.counted = max(self.counted, held)  # sequence numbers begin with 1
        self._acknowledged = held

    def _raise_if_foreign(self) -> None:
        """Raise _ForeignLedgerError until Redis has had no report of ours for FOREIGN_LIMIT_S."""
        if self._foreign_since is None:
            self._foreign_since = steady_s()
            self._log.error(
                "this Redis has no report of this worker: it is another one, or was emptied; reports are queued",
                acknowledged=self._acknowledged,
                seconds=FOREIGN_LIMIT_S,
            )
        if steady_s() - self._foreign_since < FOREIGN_LIMIT_S:
            raise _ForeignLedgerError

    def _span(self, report: Report, attempt: int) -> "contextlib.AbstractContextManager[Span | None]":
        trace_id = None if self._tracing is None else self._tracing.sample()
        if self._tracing is None or trace_id is None:
            return contextlib.nullcontext()
        attributes: dict[str, str | int] = {
            "db.system.name": "redis",
            "dockercoins.report.sequence": report.sequence,
            "dockercoins.report.hashes": report.hashes,
            "dockercoins.report.attempt": attempt,
        }
        return self._tracing.root(trace_id, "report", "CLIENT", attributes)

    async def _apply(self, arguments: list[bytes | str | int]) -> tuple[int, int]:
        """Write a report to Redis and apply it, in one round trip.

        Returns the sequence number that Redis holds, and the number of coins in the wallet.
        """
        while True:
            pipeline = self._redis.pipeline(transaction=False)
            for each in (arguments, ()):
                pipeline.evalsha(self._script.sha, len(self._keys), *self._keys, *each)
            responses = await pipeline.execute(raise_on_error=False)
            error = next((response for response in responses if isinstance(response, Exception)), None)
            if error is None:
                return tuple(responses[-1])
            if not isinstance(error, NoScriptError):
                raise error
            await self._redis.script_load(self._script.script)

    async def wait_until_flushed(self) -> None:
        """Wait until all reports are acknowledged, for as long as Redis is unavailable."""
        await self._flushed.wait()

    async def flush(self, limit_s: float) -> bool:
        """Send all reports with short pauses between attempts, and return whether they are acknowledged in time."""
        self._flushing.set()
        try:
            async with asyncio.timeout(limit_s):
                await self._flushed.wait()
        except TimeoutError:
            return False
        finally:
            self._flushing.clear()
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
