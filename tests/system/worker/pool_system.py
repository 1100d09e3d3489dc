"""Backends that answer as the tests want, and a client that keeps batches in flight."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from dockercoins.rng.v1 import rng_service_pb2

from chassis.grpc_server import server
from chassis.health import Health
from chassis.settings import Pace
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.telemetry.telemetry import Telemetry
from rng_svc.service import SERVICE, RandomBatch, RngService, check_source
from rng_svc.settings import RngSettings
from worker_svc import step
from worker_svc.batch import Batch
from worker_svc.batch_stream import PROBE_ID
from worker_svc.stream_pool import StreamPool

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[rng_service_pb2.StreamRandomBytesRequest]
Responses = AsyncIterator[RandomBatch]
Check = Callable[[], Awaitable[bool]]


class Backend(RngService):
    """The real service, which also keeps what the tests ask about."""

    def __init__(self, settings: RngSettings) -> None:
        super().__init__(settings.instance, settings.pacing())
        self.streams = 0
        self.open_streams = 0
        self.peers: set[str] = set()
        self.batches: list[int] = []

    async def StreamRandomBytes(  # noqa: N802 - named as in protos/
        self, request_iterator: Requests, context: Context
    ) -> Responses:
        self.streams += 1
        self.open_streams += 1
        self.peers.add(context.peer())

        async def noted() -> Requests:
            async for request in request_iterator:
                if request.batch_id != PROBE_ID:
                    self.batches.append(request.batch_id)
                yield request

        try:
            async for response in self.serve(noted(), context):
                yield response
        finally:
            self.open_streams -= 1

    def serve(self, requests: Requests, context: Context) -> Responses:
        return super().StreamRandomBytes(requests, context)


@asynccontextmanager
async def backend(
    name: str, port: int, kind: type[Backend] = Backend, check: Check = check_source, **settings: Any
) -> AsyncIterator[Backend]:
    values = RngSettings(pace=Pace.FULL, instance=name, port=port, **settings)
    health = Health()
    health.started()
    servicer = kind(values)
    async with server.serve(values, Telemetry(health), SERVICE, servicer.add_to, check):
        yield servicer


class Client:
    """A pool that keeps so many batches in flight, as a pipeline would."""

    def __init__(self, ports: list[int], *, window: int = 4, generation: float = 0.6, streams: int = 64) -> None:
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        self.metrics = RpcMetrics("client")
        self.pool = StreamPool(
            step.RANDOM,
            target,
            client_id="client",
            streams=streams,
            window=window,
            generation=generation,
            metrics=self.metrics,
            on_backends=lambda: self.known.append(self.pool.backends),
        )
        self.pool.on_answer = self._answered
        self.known: list[list[str]] = []
        self.answers: Counter[int] = Counter()
        self._done: list[Batch] = []
        self.asked = 0
        self._more = True
        self._window = window

    def _ask(self) -> None:
        self.asked += 1
        self.pool.submit(Batch(self.asked, 4, 32, 0.0))

    def _answered(self, batch: Batch) -> None:
        assert len(batch.data) == 128
        self.answers[batch.id] += 1
        self._done.append(batch)
        if self._more:
            self._ask()

    @property
    def data(self) -> dict[int, bytes]:
        """What the answered batches carry now."""
        return {batch.id: bytes(batch.data) for batch in self._done}

    async def until(self, condition: Callable[[], bool], limit: float = 5.0) -> None:
        async with asyncio.timeout(limit):
            while not condition():  # noqa: ASYNC110 - the condition is the test's own
                await asyncio.sleep(0.005)

    async def answered_once(self) -> None:
        """Ask for nothing more, and see that each batch was answered, and once."""
        self._more = False
        await self.until(lambda: len(self.answers) == self.asked)
        assert set(self.answers.values()) == {1}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Client"]:
        task = asyncio.create_task(self.pool.run())
        for _ in range(self._window):
            self._ask()
        try:
            yield self
        finally:
            self._more = False
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.pool.close(0.5)
