"""Reports to Redis: each is counted once, whatever happens to the connection or to Redis."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING

from redis.exceptions import NoScriptError, RedisError

from chassis import log
from chassis.log import ThrottledLogger
from chassis.redis import errors, schema
from chassis.redis.client import open_client
from chassis.telemetry.metrics import LatencyHistogram
from chassis.timing import deadline, steady_s
from worker_svc.backoff import Backoff, sleep_unless
from worker_svc.report import Report
from worker_svc.settings import WorkerSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from redis.commands.core import AsyncScript

    from chassis.telemetry.tracing import Tracing

MAX_UNACKNOWLEDGED = 60
"""Reports that queue up while Redis is away, one a second; then mining waits."""

KEPT_SECONDS = 10.0
"""How long acknowledged reports are kept while Redis answers: what it may have lost when it was restored from an older
state, or when a replica took over that had not got everything yet."""

KEPT_AWAY_SECONDS = 3_600.0
"""How long they are kept while it does not: a takeover may take long. What Redis has taken from a worker it knows for a
day (ledger.lua), and would count again after that."""

HURRIED_PAUSE = 0.05
"""Seconds between attempts while somebody waits for the reports to be acknowledged."""

ANSWER_LIMIT = 2.0
"""Seconds in which Redis must accept a connection and answer."""


class Ledger:
    """Sends reports in the order of their sequence numbers, again until they are acknowledged."""

    def __init__(self, settings: WorkerSettings, worker_id: str, tracing: "Tracing | None" = None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._worker_id = worker_id
        self._redis = open_client(
            settings.redis,
            # Bounded by asyncio.timeout below: with its own limits redis-py uses asyncio.wait_for, which before
            # Python 3.12 can swallow a cancellation (measured: 13 of 300), and the worker would not stop.
            socket_timeout=None,
            socket_connect_timeout=None,
        )
        self._keys = settings.redis.keys.of_report(worker_id)
        script = resources.files(__package__).joinpath("ledger.lua").read_text()
        self._script: AsyncScript = self._redis.register_script(script)
        self._reports: deque[tuple[Report, float]] = deque()
        """With the moments at which they were made or, from then on, acknowledged, on the steady clock."""
        self._acknowledged = 0
        self._attempted = 0
        """The highest sequence number that was tried, whether or not Redis took it."""
        self.sent = 0
        """Reports that Redis has taken, each counted once."""
        self.resent = 0
        """Attempts to send a report that was tried before."""
        self.latency = LatencyHistogram()
        """Of Redis's answers to reports, in seconds."""
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._hurry = asyncio.Event()
        self._coins_kept = 0
        self._away = ThrottledLogger("redis is away, reports wait", to="redis")
        self._log = log.get(to="redis")
        self._reached = False
        """Whether Redis has ever answered."""
        self._refused = False
        """Whether Redis answers, and takes nothing from us."""
        self.on_change: Callable[[], None] = lambda: None
        """Whom to tell when it may have changed whether reports are taken."""

    @property
    def unreported_hashes(self) -> int:
        """Hashes in reports that Redis has not acknowledged."""
        return sum(report.hashes for report, _ in self._reports if report.sequence > self._acknowledged)

    @property
    def full(self) -> bool:
        """Whether no more reports should be made until Redis has taken some."""
        return sum(report.sequence > self._acknowledged for report, _ in self._reports) >= MAX_UNACKNOWLEDGED

    @property
    def taking(self) -> bool:
        """Whether there is a Redis that lets us in, and room for what can't be sent to it now."""
        return self._reached and not self._refused and not self.full

    @property
    def idle(self) -> bool:
        """Whether Redis has taken all reports."""
        return self._settled.is_set()

    @property
    def wallet_open(self) -> bool:
        """Whether the wallet, as last seen, has room."""
        return self._coins_kept < self._settings.wallet_limit

    def add(self, report: Report) -> None:
        """Have a report sent."""
        self._reports.append((report, steady_s()))
        self._settled.clear()
        self._news.set()
        self.on_change()

    async def run(self) -> None:
        """Find Redis, then send reports as they come, until cancelled."""
        await self._find()
        backoff = Backoff()
        attempt = 0
        while True:
            self._forget(KEPT_AWAY_SECONDS)
            report = self._next()
            if report is None:
                self._settled.set()
                self._news.clear()
                await self._news.wait()
                continue
            attempt += 1
            try:
                with self._span(report, attempt) or contextlib.nullcontext():
                    async with deadline(ANSWER_LIMIT, f"answer to report {report.sequence}"):
                        await self._send(report)
                self._forget(KEPT_SECONDS)
                self._away.clear()
                backoff.reset()
                attempt = 0
            except (RedisError, OSError, TimeoutError) as error:
                self._failed(error)
                await self._pause(backoff.pause())

    async def _find(self) -> None:
        backoff = Backoff()
        while not self._reached:
            try:
                async with deadline(ANSWER_LIMIT, "connection, or no answer on it,"):
                    # No report, but all that a report would fail on.
                    _, self._coins_kept = await self._script(keys=self._keys)
                self._reached = True
                self._refused = False
                self._away.clear()
            except (RedisError, OSError, TimeoutError) as error:
                self._failed(error)
                await self._pause(backoff.pause())
        self.on_change()

    def _failed(self, error: Exception) -> None:
        self._away.log(cause=errors.describe(error), hashes=self.unreported_hashes)
        self._refused = errors.is_permanent(error)
        if errors.is_eviction(error):
            # The sequence number may be evicted; what Redis took would be counted again.
            self._forget(0.0)
        self.on_change()

    def _next(self) -> Report | None:
        return next((report for report, _ in self._reports if report.sequence > self._acknowledged), None)

    def _span(self, report: Report, attempt: int) -> "Span | None":
        if self._tracing is None:
            return None
        return self._tracing.root(
            "report",
            "CLIENT",
            {
                "db.system.name": "redis",
                "dockercoins.report.sequence": report.sequence,
                "dockercoins.report.hashes": report.hashes,
                "dockercoins.report.attempt": attempt,
            },
        )

    def _forget(self, kept_seconds: float) -> None:
        now = steady_s()
        while self._reports:
            report, since = self._reports[0]
            if report.sequence > self._acknowledged or now - since <= kept_seconds:
                return
            self._reports.popleft()

    async def _send(self, report: Report) -> None:
        settings = self._settings
        oldest = self._reports[0][0].sequence
        self.resent += report.sequence <= self._attempted
        self._attempted = max(self._attempted, report.sequence)
        began = time.monotonic()
        sent = schema.Report(
            worker=self._worker_id,
            instance=settings.instance,
            sequence=report.sequence,
            hashes=report.hashes,
            coins=report.coins,
            begin_us=report.begin_us,
            end_us=report.end_us,
            batch_size=report.batch_size,
            pace=settings.pace,
            report_interval_us=round(settings.report_interval * 1e6),
            sent_us=report.end_us + round((began - report.end) * 1e6),
            stalled_since_us=report.stalled_since_us,
            waits_for=report.waits_for,
        )
        replicas = schema.ReplicaSnapshot(round(report.seconds, 6), report.replicas["rng"], report.replicas["hasher"])
        latest = [schema.Coin(digest, round(found, 6)) for digest, found in report.latest]
        arguments = schema.report_arguments(
            sent,
            replicas,
            schema.NewCoins(settings.difficulty_bits, latest),
            oldest_sequence=oldest,
            wallet=report.wallet,
            wallet_limit=settings.wallet_limit,
        )
        held, self._coins_kept = await self._take(*arguments)
        self.latency.observe(time.monotonic() - began)
        self.sent = max(self.sent, held)  # reports are numbered 1, 2, 3 and so on
        if held < self._acknowledged:
            self._log.warning("redis is behind, reporting again", held=held, acknowledged=self._acknowledged)
        for number, (kept, _) in enumerate(self._reports):
            if self._acknowledged < kept.sequence <= held:
                self._reports[number] = kept, steady_s()
        self._acknowledged = held
        self._refused = False
        self.on_change()

    async def _take(self, *report: bytes | str | int) -> tuple[int, int]:
        """Have a report written down and applied, in one round trip. Returns what the script answers."""
        while True:
            pipeline = self._redis.pipeline(transaction=False)
            for arguments in (report, ()):
                pipeline.evalsha(self._script.sha, len(self._keys), *self._keys, *arguments)
            answers = await pipeline.execute(raise_on_error=False)
            error = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if error is None:
                return tuple(answers[-1])
            if not isinstance(error, NoScriptError):
                raise error
            await self._redis.script_load(self._script.script)

    async def _pause(self, seconds: float) -> None:
        if self._hurry.is_set():
            await asyncio.sleep(HURRIED_PAUSE)
            return
        await sleep_unless(self._hurry, seconds)

    async def settled(self) -> None:
        """Wait until all reports are acknowledged, for as long as Redis is away."""
        await self._settled.wait()

    async def settle(self, limit: float) -> bool:
        """Wait until all reports are acknowledged, for `limit` seconds at most; whether they are."""
        self._hurry.set()
        try:
            async with asyncio.timeout(limit):
                await self._settled.wait()
        except TimeoutError:
            return False
        finally:
            self._hurry.clear()
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
