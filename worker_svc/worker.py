"""The worker put together, and its order of stopping: drain the pipeline, last report, close."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from chassis import log
from chassis.large_fields import keep_freed_memory
from chassis.process import ServiceFailed
from chassis.telemetry import Telemetry
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates, handshake_log
from worker_svc.autotune import Autotuner
from worker_svc.backoff import sleep_unless
from worker_svc.batch import Batch
from worker_svc.coins import CoinFinder
from worker_svc.ledger import Ledger
from worker_svc.metrics import WorkerMetrics
from worker_svc.pipeline import Pipeline
from worker_svc.pool.pool import Pool
from worker_svc.settings import Sizes, WorkerSettings
from worker_svc.stage import HasherStage, RngStage
from worker_svc.tally import Tally

CHANGE_PAUSE = 0.25
"""Seconds from one report about a change of replicas to the next: some come and go all the time."""

DRAIN_LIMIT = 1.6
"""Seconds for batches in flight. Ten classic workers on one serial rng wait one second each."""

REPORT_LIMIT = 1.0
"""Seconds for the last report."""


class Worker:
    """One worker: two pools, the pipeline through them, the tally and the ledger."""

    def __init__(self, settings: WorkerSettings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._health = telemetry.health
        self._id = f"{settings.instance}-{secrets.token_hex(4)}"
        self._log = log.get()
        self._sizes = settings.initial_sizes
        self._tally = Tally(CoinFinder(settings.difficulty_bits))
        self._ledger = Ledger(settings, self._id, telemetry.tracing)
        streams = RpcMetrics("client")
        certificates = None if settings.tls is None else RenewedCertificates(settings.tls)
        self._pools = {
            stage.name: Pool(
                stage,
                target,
                client_id=self._id,
                window=self._sizes.window,
                max_endpoints=settings.max_endpoints,
                metrics=streams,
                on_change=self._look_at_replicas,
                certificates=certificates,
            )
            for stage, target in (
                (RngStage(), settings.rng_target),
                (HasherStage(self._tally.coins_for_wallet), settings.hasher_target),
            )
        }
        self._pipeline = Pipeline(
            self._pools[RngStage.name],
            self._pools[HasherStage.name],
            batch_size=self._sizes.batch_size,
            message_size=settings.message_size,
            window=self._sizes.window,
            delay=settings.delay,
            on_counted=self._counted,
            tracing=telemetry.tracing,
        )
        for metrics in (streams, WorkerMetrics(self._tally, self._pipeline, self._pools, self._ledger)):
            telemetry.metrics.register(metrics)
        self._autotuner = Autotuner(settings, self._resize) if settings.autotunes else None
        self._connected = asyncio.Event()
        self._changed = asyncio.Event()
        """There is something about the replicas that no report says."""
        self._stopping = False
        self._ledger.on_change = self._look_at_redis

    def _counted(self, batch: Batch, now: float) -> None:
        self._tally.count(batch, now)
        if self._autotuner is not None:
            self._autotuner.count(batch, now)

    def _resize(self, sizes: Sizes) -> None:
        for pool in self._pools.values():
            pool.resize(sizes.window)
        self._pipeline.resize(*sizes)

    def _look_at_replicas(self) -> None:
        for name, pool in self._pools.items():
            self._health.set(name, met=bool(pool.replicas))
        if all(pool.replicas for pool in self._pools.values()):
            self._connected.set()
        self._changed.set()

    def _look_at_redis(self) -> None:
        # Away is no reason by itself: a worker that goes on mining for a minute has nothing to complain of.
        self._health.set("redis", met=self._ledger.taking)

    async def run(self) -> None:
        """Mine and report until cancelled or, which is a defect, until one of the parts fails."""
        async with asyncio.TaskGroup() as tasks:
            for pool in self._pools.values():
                tasks.create_task(pool.run())
            tasks.create_task(self._pipeline.run())
            tasks.create_task(self._mine())
            tasks.create_task(self._report_changes())
            if self._autotuner is not None:
                tasks.create_task(self._autotuner.run())

    async def send_reports(self) -> None:
        """Send reports until cancelled."""
        await self._ledger.run()

    async def _mine(self) -> None:
        while not self._connected.is_set():
            await sleep_unless(self._connected, self._settings.report_interval)
            if not self._connected.is_set():
                self._report_if_useful()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self._ledger.full:
                self._pipeline.pause()
            else:
                self._pipeline.resume()
            due = max(due + self._settings.report_interval, loop.time())
            await asyncio.sleep(due - loop.time())
            self._report_if_useful()

    def _report_if_useful(self) -> None:
        # A report that only says that nothing was counted is no use later: the room is for what was.
        if self._ledger.idle if self._tally.stalled else not self._ledger.full:
            self._report()

    async def _report_changes(self) -> None:
        """Make a report at once when a replica comes, goes or is late.

        Only while Redis has taken all others: the room for reports in a time without it is for those about work.
        """
        await self._connected.wait()
        while True:
            await self._changed.wait()
            await self._ledger.settled()
            if self._stopping:
                return
            if self._changed.is_set():
                self._report()
            await asyncio.sleep(CHANGE_PAUSE)

    def _report(self) -> None:
        self._changed.clear()
        self._tally.wallet_open = self._ledger.wallet_open
        batch_size = (self._autotuner.best if self._autotuner else self._sizes).batch_size
        seen = {name: pool.picker.snapshot() for name, pool in self._pools.items()}
        waits_for = next((name for name, pool in self._pools.items() if pool.waiting), "")
        now, oldest = asyncio.get_running_loop().time(), self._pipeline.oldest
        report = self._tally.report(now, oldest, batch_size, seen, waits_for)
        self._log.info(f"{report.hashes} units of work done", coins=report.coins)
        self._ledger.add(report)

    async def drain(self) -> None:
        """Count what is in flight; what is not answered in time is dropped, uncounted."""
        self._stopping = True
        try:
            async with asyncio.timeout(DRAIN_LIMIT):
                await self._pipeline.drain()
        except TimeoutError:
            if unanswered := [batch.id for batch in self._pipeline.in_flight]:
                self._log.warning(
                    "batches unanswered, not counted",
                    batches=len(unanswered),
                    oldest=unanswered[0],
                    seconds=DRAIN_LIMIT,
                )

    async def report_last(self) -> bool:
        """Report what is left; False, said in the log, when Redis did not take it."""
        if not self._tally.stalled:
            self._report()
        if not self._ledger.unreported_hashes or await self._ledger.settle(REPORT_LIMIT):
            return True
        self._log.error("hashes could not be reported", hashes=self._ledger.unreported_hashes)
        return False

    async def close(self) -> None:
        """End the connection to Redis."""
        await self._ledger.close()


@contextlib.asynccontextmanager
async def worker(settings: WorkerSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """The service, from the first attempt to reach the others to the last report.

    Raises ServiceFailed after stopping when hashes could not be reported.
    """
    keep_freed_memory()
    miner = Worker(settings, telemetry)
    failed_handshakes = contextlib.nullcontext() if settings.tls is None else handshake_log("error")
    async with failed_handshakes, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(miner.run())
        reporting = tasks.create_task(miner.send_reports())
        yield
        await miner.drain()
        running.cancel()
        all_reported = await miner.report_last()
        reporting.cancel()
        await asyncio.wait((running, reporting))
        await miner.close()
    if not all_reported:
        raise ServiceFailed("worker")
