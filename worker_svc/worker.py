"""Wires the parts of the worker together, and stops them in order: drain the pipeline, last report, close."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from chassis import log
from chassis.large_fields import keep_freed_memory
from chassis.process import ServiceFailed
from chassis.redis.schema import AnnotationKind, Report, new_worker_id
from chassis.settings import STOP_LIMIT_S
from chassis.telemetry import Telemetry
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.timing import sleep_unless
from chassis.tls import RenewedCertificates
from worker_svc.autotune import Autotuner
from worker_svc.changes import Changes
from worker_svc.ledger import Ledger
from worker_svc.metrics import WorkerMetrics
from worker_svc.pipeline import Pipeline
from worker_svc.pool.pool import Pool
from worker_svc.settings import Sizes, WorkerSettings
from worker_svc.stage import HasherStage, RngStage
from worker_svc.tally import Tally

# The shortest time between two reports about changes of replicas, because a replica may flap.
CHANGE_PAUSE_S = 0.25

# How long batches in flight have to complete. Ten classic workers on one rng wait one second each.
DRAIN_LIMIT_S = 1.6

# Time reserved for closing, after the last report.
CLOSE_LIMIT_S = 0.6


class Worker:
    """One worker: two pools, the pipeline through them, the tally and the ledger."""

    def __init__(self, settings: WorkerSettings, telemetry: Telemetry) -> None:
        worker_id = new_worker_id(settings.instance)
        self._report_interval = settings.report_interval
        self._stop_limit = settings.stop_limit
        self._sizes = settings.initial_sizes
        self._instance = settings.instance
        self._reported_reason = ""
        self._waits_for = ""
        self._health = telemetry.health
        self._log = log.get()
        self._tally = Tally(settings, worker_id)
        self.ledger = Ledger(settings, worker_id, telemetry.tracing)
        self.ledger.on_change = self._update_redis
        self.ledger.on_counted = self._log_work
        self._changes = Changes()
        streams = RpcMetrics("client")
        pool = partial(
            Pool,
            client_id=worker_id,
            window=self._sizes.window,
            max_endpoints=settings.max_endpoints,
            metrics=streams,
            on_change=self._update_replicas,
            changes=self._changes,
            certificates=None if settings.tls is None else RenewedCertificates(settings.tls),
        )
        rng = pool(RngStage(), settings.rng_target)
        hasher = pool(HasherStage(self._tally.coins_for_wallet), settings.hasher_target)
        self._pools = {"rng": rng, "hasher": hasher}
        self._autotuner = Autotuner(settings, self._resize) if settings.autotunes else None
        self._pipeline = Pipeline(
            rng,
            hasher,
            batch_size=self._sizes.batch_size,
            message_size=settings.message_size,
            window=self._sizes.window,
            delay=settings.delay,
            on_counted=[self._tally.count, *([self._autotuner.count] if self._autotuner else [])],
            tracing=telemetry.tracing,
        )
        for metrics in (streams, WorkerMetrics(self._tally, self._pipeline, self._pools, self.ledger)):
            telemetry.metrics.register(metrics)
        self._connected = asyncio.Event()
        # Whether replicas have changed since the last report, and when a change was reported last.
        self._changed = asyncio.Event()
        self._changed_at = float("-inf")
        self._draining = False
        # When drain() began.
        self._drain_began = 0.0
        # When the last line about work was logged; infinity once one has said that there is none.
        self._worked_at = float("inf")

    def _resize(self, sizes: Sizes) -> None:
        for pool in self._pools.values():
            pool.resize(sizes.window)
        self._pipeline.resize(*sizes)

    def _update_replicas(self) -> None:
        for name, pool in self._pools.items():
            self._health.set(name, met=bool(pool.replicas))
        if all(pool.replicas for pool in self._pools.values()):
            self._connected.set()
        self._changed.set()

    def _update_redis(self) -> None:
        # A worker stays ready while Redis is unreachable and the queue has room for reports.
        self._health.set("redis", met=self.ledger.accepting)

    async def run(self) -> None:
        """Mine and make reports until cancelled. Raises what a part raised, which is a defect, in an ExceptionGroup."""
        async with asyncio.TaskGroup() as tasks:
            for pool in self._pools.values():
                tasks.create_task(pool.run())
            tasks.create_task(self._mine())
            tasks.create_task(self._report_changes())
            if self._autotuner is not None:
                tasks.create_task(self._autotuner.run())

    async def _mine(self) -> None:
        """Mine once both services are connected, but not while the ledger is full, and report at each interval."""
        while not self._connected.is_set():
            await sleep_unless(self._connected, self._report_interval)
            if not self._connected.is_set():
                self._report_if_useful()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.ledger.full:
                self._pipeline.pause()
            else:
                self._pipeline.resume()
            due = max(due + self._report_interval, loop.time())
            await asyncio.sleep(due - loop.time())
            # What follows a change gets a whole interval, so that each replica's share shows in one report.
            if (due_after_change := self._changed_at + self._report_interval) > due:
                due = due_after_change
                await asyncio.sleep(due - loop.time())
            self._report_if_useful()

    def _report_if_useful(self) -> None:
        # A report without a batch is of no use later, so only reports with batches are queued.
        has_room = self.ledger.flushed if self._tally.stalled else not self.ledger.full
        if has_room:
            self._report()

    async def _report_changes(self) -> None:
        """Make a report at once when a replica joins or leaves, but not while others wait for Redis."""
        await self._connected.wait()
        while True:
            await self._changed.wait()
            await self.ledger.wait_until_flushed()
            if self._draining:
                return
            if self._changed.is_set():
                self._report()
                self._changed_at = asyncio.get_running_loop().time()
            await asyncio.sleep(CHANGE_PAUSE_S)

    def _note_changes(self, waits_for: str, now: float) -> None:
        """Note a new choice of the batch size, and a wait that begins; the pools note what is about replicas."""
        if self._autotuner and (reason := self._autotuner.reason) != self._reported_reason:
            self._reported_reason = reason
            self._changes.add(AnnotationKind.AUTOTUNED, "worker", self._instance, now, value=reason)
        if waits_for and not self._waits_for:
            self._changes.add(AnnotationKind.WAITING, waits_for, self._instance, now)
        self._waits_for = waits_for

    def _report(self, *, leaving: bool = False) -> None:
        self._changed.clear()
        self._tally.wallet_open = self.ledger.wallet_open
        now = asyncio.get_running_loop().time()
        batch_size = (self._autotuner.best if self._autotuner else self._sizes).batch_size
        waits_for = next((name for name, pool in self._pools.items() if pool.waiting), "")
        self._note_changes(waits_for if self._tally.stalled else "", now)
        entry = self._tally.report(
            now,
            self._pipeline.oldest,
            batch_size,
            {name: pool.picker.replicas.snapshot(now) for name, pool in self._pools.items()},
            waits_for=waits_for,
            window=self._pipeline.window,
            changes=None if leaving else self._changes,
            leaving=leaving,
        )
        self.ledger.add(entry)

    def _log_work(self, report: Report) -> None:
        now = asyncio.get_running_loop().time()
        if report.hashes or now - self._worked_at >= self._report_interval:
            figures = {"hashes": report.hashes, "coins": report.coins}
            self._log.info(f"{report.hashes} units of work done", figures=figures)
            self._worked_at = now if report.hashes else float("inf")

    async def drain(self) -> None:
        """Wait until the batches in flight are counted. Those without a response in time are dropped and logged."""
        self._draining = True
        self._drain_began = asyncio.get_running_loop().time()
        if dropped := await self._pipeline.drain(DRAIN_LIMIT_S):
            self._log.warning(
                "batches without a response are not counted",
                batches=len(dropped),
                oldest=dropped[0].id,
                seconds=DRAIN_LIMIT_S,
            )

    async def report_last(self) -> bool:
        """Report what is left, and return whether Redis has acknowledged it; if not, log what is lost."""
        if not self._tally.stalled or (self.ledger.accepting and not self.ledger.unavailable):
            self._report(leaving=True)
        # Without hashes, the last report only makes the page show at once that this worker has left, so it may be lost.
        limit = self._stop_limit if self.ledger.unreported_hashes else STOP_LIMIT_S
        seconds_left = self._drain_began + limit - CLOSE_LIMIT_S - asyncio.get_running_loop().time()
        if await self.ledger.flush(seconds_left) or not self.ledger.unreported_hashes:
            return True
        self._log.error("hashes could not be reported", hashes=self.ledger.unreported_hashes)
        return False


@contextlib.asynccontextmanager
async def worker(settings: WorkerSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """Run the service, from the first attempt to connect to the last report.

    Raises ServiceFailed after stopping when hashes could not be reported.
    """
    keep_freed_memory()
    mining = Worker(settings, telemetry)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(mining.run())
        reporting = tasks.create_task(mining.ledger.run())
        yield
        await mining.drain()
        running.cancel()
        all_reported = await mining.report_last()
        reporting.cancel()
        await asyncio.wait((running, reporting))
        await mining.ledger.close()
    if not all_reported:
        raise ServiceFailed("worker")
