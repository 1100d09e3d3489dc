"""One run of one point: it connects, warms up, measures and drains."""

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Callable, Mapping

from chassis.batch_limits import MAX_BATCHES
from chassis.grpc_client import failure, open_channel
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.timing import sleep_unless
from chassis.tls import RenewedCertificates
from load_test import LoadTestError
from load_test.local_services import LocalService
from load_test.machine import baseline_hashes_per_second, cpu_seconds
from load_test.measurement import TOTAL, Latencies, Measurement, Recorder
from load_test.open_loop import OpenLoop
from load_test.options import Options
from load_test.report import Mode, Point
from load_test.unary_calls import UnaryCalls
from worker_svc.batch import Batch
from worker_svc.pipeline import Pipeline, StageClient
from worker_svc.pool.pool import Pool
from worker_svc.stage import HASHER, RNG, Stage

# A pool usually connects in 0.3 s.
CONNECT_LIMIT_S = 5.0

# With a rate schedule, the latency of what is in flight at the end counts.
DRAIN_LIMIT_S = 5.0

# The time for the baseline, as a part of the measured time, and at most: signals wait meanwhile.
BASELINE_PART = 0.2
BASELINE_LIMIT_S = 1.0

# A service is lost after this time without a batch done: without a server, as a restart takes less, and with servers.
ABSENCE_LIMIT_S = 3.0
SILENCE_LIMIT_S = 10.0
CHECK_INTERVAL_S = 0.1


class SentTimes:
    """Notes when each batch is sent to a client; its wait there for a stream with room is part of the latency."""

    def __init__(self, client: StageClient) -> None:
        # On the event loop's clock, by the batch's id.
        self.times: dict[int, float] = {}
        self._client = client
        self._clock = asyncio.get_running_loop().time

    def send(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        """Send a batch."""
        self.times[batch.id] = self._clock()
        self._client.send(batch, on_response)


class Trial:
    """Measures a point once."""

    def __init__(
        self,
        point: Point,
        options: Options,
        services: Mapping[str, LocalService],
        certificates: RenewedCertificates | None,
    ) -> None:
        """Measure the services started here, which use no TLS, and those that the options name."""
        self.point = point
        self._options = options
        self._services = services
        self._targets = {**{name: service.target for name, service in services.items()}, **options.targets}
        self._certificates = certificates
        self._loop = asyncio.get_running_loop()
        self._enough = asyncio.Event()
        # With a rate, the schedule ends after so many requests.
        self.recorder = Recorder(options.requests or math.inf if options.rate is None else math.inf, self._enough.set)
        self._streams = RpcMetrics("client")
        self._clients = {stage.name: self._client(stage) for stage in (RNG, HASHER)}
        self._to_rng, self._to_hasher = map(SentTimes, self._clients.values())
        self._pipeline = Pipeline(
            self._to_rng,
            self._to_hasher,
            batch_size=point.batch_size,
            message_size=point.message_size,
            window=point.window,
            delay=0,
            on_counted=[self._counted],
        )
        self._open_loop: OpenLoop | None = None
        self._duration = options.duration
        if options.rate is not None:
            rate = options.rate.hashes(point.batch_size)
            if options.requests is not None:
                self._duration = options.requests * point.batch_size / rate.mean
            self._open_loop = OpenLoop(self._pipeline, rate.schedule(options.warm_up, self._duration))

    def _client(self, stage: Stage) -> Pool | UnaryCalls:
        target, client_id = self._targets[stage.name], f"{self._options.settings.instance}-load-test"
        certificates = self._certificates_for(stage)
        if self.point.mode is Mode.UNARY:
            return UnaryCalls(stage, target, client_id=client_id, certificates=certificates)
        return Pool(
            stage,
            target,
            client_id=client_id,
            window=self.point.window,
            max_endpoints=self._options.settings.max_endpoints,
            max_batches=1 if self.point.mode is Mode.UNCOALESCED else MAX_BATCHES,
            metrics=self._streams,
            on_change=lambda: None,
            certificates=certificates,
        )

    def _certificates_for(self, stage: Stage) -> RenewedCertificates | None:
        return None if stage.name in self._services else self._certificates

    def _counted(self, batch: Batch, now: float) -> None:
        sent_to_rng, sent_to_hasher = self._to_rng.times.pop(batch.id), self._to_hasher.times.pop(batch.id)
        self.recorder.stages_done(sent_to_hasher - sent_to_rng, now - sent_to_hasher)
        self.recorder.done(batch, now)
        if self._open_loop is not None:
            self._open_loop.batch_counted()

    async def run(self) -> Measurement:
        """Connect, warm up, measure and drain.

        Raises LoadTestError when a service can't be reached, or is lost.
        """
        seconds = min(BASELINE_PART * self._duration, BASELINE_LIMIT_S)
        baseline = baseline_hashes_per_second(self.point.batch_size, self.point.message_size, seconds)
        measuring = asyncio.create_task(self._measure(baseline))
        others = [asyncio.create_task(client.run()) for client in self._clients.values()]
        others.append(asyncio.create_task(self._check()))
        try:
            done, _ = await asyncio.wait([measuring, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {measuring}:
                await task  # raises its error
            return await measuring
        finally:
            if self._open_loop is not None:
                self._open_loop.stop()
            for task in (measuring, *others):
                task.cancel()
            await asyncio.gather(measuring, *others, return_exceptions=True)

    async def _measure(self, baseline: float) -> Measurement:
        await self._connect()
        # What exists now is never visited again: a collection of all objects takes 20 ms, and batches would be late.
        gc.collect()
        gc.freeze()
        if self._open_loop is None:
            self._pipeline.resume()
        else:
            self._open_loop.start()
        await asyncio.sleep(self._options.warm_up)
        now = self._loop.time()
        self.recorder.begin(now, self._duration, due_since=-math.inf if self._open_loop is None else now)
        cpu, errors, resent = self._cpu_seconds(), self._errors(), self._resent()
        messages = self._messages()
        if self._open_loop is not None:
            self._open_loop.lateness = Latencies()
        await sleep_unless(self._enough, self._duration)
        waits: list[tuple[float, int]] = []
        if self._open_loop is not None:
            self._open_loop.stop()
            waits = self._open_loop.waits(self._options.warm_up)
        now = self._loop.time()
        self.recorder.end(now, due_until=-math.inf if self._open_loop is None else now)
        used = self._cpu_seconds()
        messages = self._messages() - messages
        dropped = await self._pipeline.drain(DRAIN_LIMIT_S)
        unanswered = [(self._loop.time() - batch.begun, 1) for batch in dropped]
        self.recorder.without_response([*waits, *unanswered])
        latency = self.recorder.quantiles()
        return Measurement(
            seconds=self.recorder.seconds,
            hashes=self.recorder.hashes,
            batches=self.recorder.batches,
            batches_per_message=len(self._clients) * self.recorder.batches / messages if messages else 1.0,
            baseline_hashes_per_second=baseline,
            latency=latency,
            cpu_seconds={name: seconds - cpu[name] for name, seconds in used.items() if name in cpu},
            errors={name: dict(codes - errors[name]) for name, codes in self._errors().items() if codes - errors[name]},
            resent=self._resent() - resent,
            not_begun=sum(batches for _, batches in waits),
            unanswered=len(unanswered),
            lateness=None if self._open_loop is None else self._open_loop.lateness.quantiles(),
            per_second=self.recorder.per_second,
            histogram=self.recorder.latencies[TOTAL].buckets(),
        )

    async def _connect(self) -> None:
        deadline = self._loop.time() + CONNECT_LIMIT_S
        for stage in (RNG, HASHER):
            client, target = self._clients[stage.name], self._targets[stage.name]
            while not client.replicas:
                if self._loop.time() > deadline:
                    async with open_channel(target, stage.service, self._certificates_for(stage)) as channel:
                        cause = await failure(channel, secure=self._certificates_for(stage) is not None)
                    causes = "".join(f"; {each}" for each in (*client.errors, cause) if each)
                    limit = f"no response within {CONNECT_LIMIT_S:.0f} s"
                    raise LoadTestError(f"{stage.name} at {target} can't be reached: {limit}{causes}")
                await asyncio.sleep(0.01)

    async def _check(self) -> None:
        """Raise LoadTestError when a service is lost."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            for service in self._services.values():
                service.check()
            self.recorder.advance(self._loop.time())
            if (oldest := self._pipeline.oldest) is None:
                continue
            silent = self._loop.time() - max(oldest, self.recorder.last_done)
            for name, client in self._clients.items():
                if silent > ABSENCE_LIMIT_S and not client.replicas:
                    raise LoadTestError(f"{name} at {self._targets[name]} is lost: no server for {silent:.0f} s")
            if silent > SILENCE_LIMIT_S:
                raise LoadTestError(f"no response for {silent:.0f} s from {' or '.join(self._targets.values())}")

    def stop(self) -> bool:
        """End the measuring early, and return whether any batch was measured."""
        self._enough.set()
        return self.recorder.batches > 0

    @property
    def part_done(self) -> float:
        """The part of the batches that is done, 0 where they are not counted."""
        return self.recorder.batches / self._options.requests if self._options.requests else 0.0

    @property
    def error_count(self) -> int:
        """The broken streams and failed calls since the connection."""
        return sum(sum(client.errors.values()) for client in self._clients.values())

    def _cpu_seconds(self) -> dict[str, float]:
        return cpu_seconds({name: service.pid for name, service in self._services.items()})

    def _errors(self) -> dict[str, Counter[str]]:
        return {name: Counter(client.errors) for name, client in self._clients.items()}

    def _messages(self) -> int:
        """Return how many messages were sent on streams; none with unary calls."""
        return sum(self._streams.method("bidi_stream", stage.path).sent for stage in (RNG, HASHER))

    def _resent(self) -> int:
        return sum(client.resent for client in self._clients.values())
