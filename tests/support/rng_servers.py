"""Servers of rng in this process that answer as a test wants, and a pool that keeps batches in flight."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from dockercoins.rng.v1 import rng_service_pb2
from dockercoins.rng.v1.rng_service_pb2_grpc import add_RngServiceServicer_to_server

from chassis.grpc_server import server
from chassis.health import Health
from chassis.settings import Pace
from chassis.telemetry import Telemetry
from chassis.telemetry.rpc_metrics import RpcMetrics
from rng_svc.service import CALLERS, SERVICE, RngService, describe, repetition_test
from rng_svc.settings import RngSettings
from support.fake_streams import response
from support.waiting import background, until
from worker_svc.batch import Batch
from worker_svc.pool.endpoint import PROBE_ID
from worker_svc.pool.pool import Pool
from worker_svc.stage import RNG

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[rng_service_pb2.StreamRandomBytesRequest]
Responses = AsyncIterator[rng_service_pb2.StreamRandomBytesResponse]
Check = Callable[[], Awaitable[bool]]


class RngServer(RngService):
    """The real service, which also records what tests check."""

    def __init__(self, settings: RngSettings, telemetry: Telemetry) -> None:
        super().__init__(settings.instance, telemetry.metrics)
        self.streams = 0
        self.open_streams = 0
        self.peers: set[str] = set()
        self.batches = 0

    async def StreamRandomBytes(  # noqa: N802 - named as in protos/
        self, request_iterator: Requests, context: Context
    ) -> Responses:
        self.streams += 1
        self.open_streams += 1
        self.peers.add(context.peer())
        try:
            async for response in self.serve(request_iterator, context):
                self.batches += sum(batch.batch_id != PROBE_ID for batch in response.batches)
                yield response
        finally:
            self.open_streams -= 1

    def serve(self, requests: Requests, context: Context) -> Responses:
        """Answer a stream; a test's own server does so in another way."""
        return super().StreamRandomBytes(requests, context)


@asynccontextmanager
async def rng_server(
    name: str, port: int, kind: type[RngServer] = RngServer, check: Check = repetition_test, **settings: Any
) -> AsyncIterator[RngServer]:
    """A server that is ready, until the context is left, when it drains."""
    values = RngSettings(pace=Pace.FULL, instance=name, port=port, **settings)
    health = Health()
    health.started()
    telemetry = Telemetry(health)
    servicer = kind(values, telemetry)
    add_servicer = partial(add_RngServiceServicer_to_server, servicer)
    async with server.serve(values, telemetry, SERVICE, add_servicer, check, describe=describe, callers=CALLERS):
        yield servicer


class PoolClient:
    """A pool that keeps a number of batches in flight, as a pipeline would."""

    def __init__(self, *ports: int, target: str = "", window: int = 4, **options: Any) -> None:
        """Take further options of the pool."""
        self.metrics = RpcMetrics("client")
        self.pool = Pool(
            RNG,
            target or "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports),
            client_id="client",
            window=window,
            metrics=self.metrics,
            on_change=lambda: None,
            **{"max_endpoints": 64, **options},
        )
        self.responses: Counter[int] = Counter()
        self.sent = 0
        self._more = True
        self._window = window

    async def _send(self) -> None:
        while self._more:
            self.sent += 1
            batch = Batch(self.sent, 4, 32, 0.0)
            assert len(await response(self.pool, batch)) == 128
            self.responses[batch.id] += 1

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._window):
                tasks.create_task(self._send())
            tasks.create_task(self.pool.run())

    async def until_completed(self, batches: int) -> None:
        """Wait until this many more are completed."""
        wanted = len(self.responses) + batches
        await until(lambda: len(self.responses) >= wanted)

    async def until_found(self, *replicas: str) -> None:
        """Wait until these are all that take batches."""
        await until(lambda: self.pool.replicas == sorted(replicas))

    async def finish(self) -> None:
        """Send nothing more, and see that each batch was completed, and once."""
        self._more = False
        await until(lambda: len(self.responses) == self.sent)
        assert set(self.responses.values()) == {1}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PoolClient"]:
        """Keep batches in flight until the context is left."""
        async with background(self._run()):
            yield self
            self._more = False
