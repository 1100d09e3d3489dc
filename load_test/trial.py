"""One run of one point: its own connections, a warm-up, the time that counts, and an orderly end."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates
from load_test import cpu_time, in_process_loop
from load_test.errors import LoadTestError
from load_test.local_service import LocalService
from load_test.measurement import Measurement
from load_test.open_loop import OpenLoop
from load_test.point import Mode, Point
from load_test.recorder import TOTAL, Recorder
from load_test.schedule import Rate
from load_test.timed_client import TimedClient
from load_test.unary_calls import UnaryCalls
from load_test.watch import Watch
from worker_svc.batch import Batch
from worker_svc.pipeline import Pipeline, StageClient
from worker_svc.pool.pool import Pool
from worker_svc.stage import HASHER, RNG, Stage

CONNECT_LIMIT = 5.0
"""Seconds in which a service must answer at first. A pool that was told of a server needs 0.3."""

DRAIN_LIMIT = 5.0
"""Seconds for what is in flight when time is up: with a rate schedule its latency counts."""

LOOP_PART = 0.2
"""Seconds of the in-process loop for each second that is measured."""

LOOP_LIMIT = 1.0
"""The most seconds of it: meanwhile nobody looks at signals."""


class Client(StageClient, Protocol):
    """What connects to one service: a pool of streams, or calls."""

    errors: Counter[str]

    @property
    def sent_again(self) -> int:
        """Batches sent more than once."""

    @property
    def replicas(self) -> list[str]:
        """The names of those that take batches."""

    async def run(self) -> None:
        """Work until cancelled, and end in good order."""


@dataclass(frozen=True)
class Conditions:
    """What all points of a sweep have in common."""

    targets: Mapping[str, str]
    """By stage."""
    services: Mapping[str, LocalService]
    """Those of our own, by name."""
    client_id: str
    max_endpoints: int
    """Of each service."""
    warm_up: float
    """Seconds before it counts."""
    duration: float
    """Seconds that count."""
    rate: Rate | None
    """The schedule of hashes, or as fast as possible."""
    certificates: RenewedCertificates | None = None
    """To encrypt with what goes to others than our own."""


class Trial:
    """Measures a point once."""

    def __init__(self, point: Point, conditions: Conditions) -> None:
        self._point = point
        self._conditions = conditions
        self._loop = asyncio.get_running_loop()
        self._recorder = Recorder()
        self._clients = {each.name: self._client(each) for each in (RNG, HASHER)}
        rng, hasher = (
            TimedClient(client, partial(self._recorder.took, name)) for name, client in self._clients.items()
        )
        self._pipeline = Pipeline(
            rng,
            hasher,
            batch_size=point.batch_size,
            message_size=point.message_size,
            window=point.window,
            delay=0,
            on_begin=lambda _: None,
            on_done=self._done,
        )
        self._open_loop = self._make_open_loop()
        self._watch = Watch(conditions.targets, self._clients, conditions.services, self._pipeline)

    def _client(self, each: Stage) -> Client:
        target, client_id = self._conditions.targets[each.name], self._conditions.client_id
        certificates = None if each.name in self._conditions.services else self._conditions.certificates
        if self._point.mode is Mode.UNARY:
            return UnaryCalls(each, target, client_id=client_id, certificates=certificates)
        return Pool(
            each,
            target,
            client_id=client_id,
            window=self._point.window,
            max_endpoints=self._conditions.max_endpoints,
            metrics=RpcMetrics("client"),
            on_change=lambda: None,
            certificates=certificates,
        )

    def _make_open_loop(self) -> OpenLoop | None:
        rate = self._conditions.rate
        if rate is None:
            return None
        schedule = rate.schedule(self._conditions.warm_up, self._conditions.duration)
        return OpenLoop(self._pipeline, self._point.batch_size, schedule)

    def _done(self, batch: Batch, now: float) -> None:
        self._watch.answered(now)
        self._recorder.done(batch, now)
        if self._open_loop is not None:
            self._open_loop.proceed()

    async def run(self) -> Measurement:
        """Connect, warm up, measure and end.

        Raises LoadTestError when a service can't be reached, or is lost.
        """
        seconds = min(LOOP_PART * self._conditions.duration, LOOP_LIMIT)
        loop_speed = in_process_loop.hashes_per_second(self._point.batch_size, self._point.message_size, seconds)
        measuring = asyncio.create_task(self._measure(loop_speed))
        others = [asyncio.create_task(client.run()) for client in self._clients.values()]
        others.append(asyncio.create_task(self._watch.run()))
        try:
            done, _ = await asyncio.wait([measuring, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {measuring}:
                await task  # nothing but a failure ends these
            return await measuring
        finally:
            for task in (measuring, *others):
                task.cancel()
            await asyncio.gather(measuring, *others, return_exceptions=True)

    async def _measure(self, loop_speed: float) -> Measurement:
        await self._connect()
        if self._open_loop is None:
            self._pipeline.resume()
        else:
            self._open_loop.start()
        await asyncio.sleep(self._conditions.warm_up)
        begun = self._loop.time()
        self._recorder.begin(begun, due_since=-math.inf if self._open_loop is None else begun)
        cpu, errors, sent_again = self._cpu(), self._errors(), self._sent_again()
        await asyncio.sleep(self._conditions.duration)
        waits = self._open_loop.stop(self._conditions.warm_up) if self._open_loop else []
        now = self._loop.time()
        self._recorder.end(now, due_until=-math.inf if self._open_loop is None else now)
        used = self._cpu()
        await self._drain()
        unanswered = [(self._loop.time() - batch.begun, 1) for batch in self._pipeline.in_flight]
        for wait, batches in (*waits, *unanswered):
            self._recorder.histograms[TOTAL].record(wait, batches)
        return Measurement(
            seconds=self._recorder.seconds,
            hashes=self._recorder.hashes,
            batches=self._recorder.batches,
            loop_hashes_per_second=loop_speed,
            latency=self._recorder.quantiles(),
            cpu_seconds={name: seconds - cpu[name] for name, seconds in used.items() if name in cpu},
            errors={name: dict(codes - errors[name]) for name, codes in self._errors().items() if codes - errors[name]},
            sent_again=self._sent_again() - sent_again,
            not_begun=sum(batches for _, batches in waits),
            unanswered=len(unanswered),
        )

    async def _connect(self) -> None:
        deadline = self._loop.time() + CONNECT_LIMIT
        for name, client in self._clients.items():
            while not client.replicas:
                if self._loop.time() > deadline:
                    target = self._conditions.targets[name]
                    codes = "".join(f", {code}" for code in client.errors)
                    raise LoadTestError(
                        f"{name} at {target} can't be reached: nobody answered within {CONNECT_LIMIT:.0f} s{codes}"
                    )
                await asyncio.sleep(0.01)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_LIMIT):
                await self._pipeline.drain()

    def _cpu(self) -> dict[str, float]:
        return cpu_time.used({name: service.pid for name, service in self._conditions.services.items()})

    def _errors(self) -> dict[str, Counter[str]]:
        return {name: Counter(client.errors) for name, client in self._clients.items()}

    def _sent_again(self) -> int:
        return sum(client.sent_again for client in self._clients.values())
