"""`python -m bench.discovery.server`: the real rng, which keeps a witness and has the vices that are measured here."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from dockercoins.rng.v1.rng_service_pb2 import (
    GetRandomBytesRequest,
    GetRandomBytesResponse,
    StreamRandomBytesRequest,
)
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.witness import Witness
from chassis import grpc_options
from chassis.settings import number, text, whole
from rng_svc.service import SERVICE, RandomBatch, RngService
from rng_svc.settings import RngSettings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ServerSettings(RngSettings):
    """What rng can be told, and more."""

    witness: str = text("", r".+", "a file", "A file that is appended to.")
    max_connection_age: float = number(0, 0, 3_600, "seconds, 0 for ever", "How long a connection lives.")
    max_connection_age_grace: float = number(0, 0, 3_600, "seconds, 0 for ever", "What its calls have to end.")
    queue_limit: int = whole(0, 0, 1_024, "batches, 0 for any number", "Beyond so many it is NOT_SERVING.")

    @property
    def options(self) -> grpc_options.Options:
        """The real server's, and those that are asked for here."""
        ages = (
            ("grpc.max_connection_age_ms", self.max_connection_age),
            ("grpc.max_connection_age_grace_ms", self.max_connection_age_grace),
        )
        return (*grpc_options.SERVER, *((name, round(seconds * 1e3)) for name, seconds in ages if seconds))


class WitnessedRng(RngService):
    """The real service. It sees no more of a stream's queue than one batch, as any server does that reads in turn."""

    def __init__(self, settings: ServerSettings, witness: Witness, statuses: grpc_health.aio.HealthServicer) -> None:
        super().__init__(settings.instance, settings.pacing())
        self._witness = witness
        self._statuses = statuses
        self._queue = 0
        self._queue_limit = settings.queue_limit
        self._busy = False

    async def StreamRandomBytes(  # noqa: N802 - named as in protos/
        self, request_iterator: AsyncIterator[StreamRandomBytesRequest], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[RandomBatch]:
        """As the real one."""
        queued = 0

        async def noted() -> AsyncIterator[StreamRandomBytesRequest]:
            nonlocal queued
            async for request in request_iterator:
                queued += 1
                await self._change_queue(1)
                yield request

        try:
            async for response in super().StreamRandomBytes(noted(), context):
                self._witness.note(context, response.batch_id, len(response.data))
                queued -= 1
                await self._change_queue(-1)
                yield response
        finally:
            await self._change_queue(-queued)

    async def GetRandomBytes(  # noqa: N802 - named as in protos/
        self, request: GetRandomBytesRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> GetRandomBytesResponse:
        """As the real one."""
        await self._change_queue(1)
        try:
            return await super().GetRandomBytes(request, context)
        finally:
            await self._change_queue(-1)

    async def _change_queue(self, change: int) -> None:
        self._queue += change
        busy = bool(self._queue_limit) and self._queue > self._queue_limit
        if busy != self._busy:
            self._busy = busy
            await self._statuses.set(SERVICE, NOT_SERVING if busy else SERVING)


async def serve(settings: ServerSettings) -> None:
    """Serve until the process is ended."""
    statuses = grpc_health.aio.HealthServicer()
    server = grpc.aio.server(options=settings.options)
    with Witness(Path(settings.witness), settings.instance) as witness:
        servicer = WitnessedRng(settings, witness, statuses)
        servicer.add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
        await statuses.set(SERVICE, SERVING)
        server.add_insecure_port(f"{settings.bind_address}:{settings.port}")
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(ServerSettings.load()))
