"""`python -m bench.scaling.crowd_server`: one process that passes for a thousand replicas of rng, and of hasher.

It answers at every address of 127/8, and on each connection under another name, so a client that was told of a thousand
addresses sees a thousand replicas. It answers as the real ones do, whose code this is, and takes any number of
connections.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import grpc
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import grpc_options
from chassis.grpc_server.pacing import Pacing
from hasher_svc import service as hasher_service
from hasher_svc.digests import DigestThread
from hasher_svc.hashing import FALLBACK
from hasher_svc.service import HashedBatch, HasherService, MessageBatch
from rng_svc import service as rng_service
from rng_svc.service import RandomBatch, RngService

DELAY = 0.1
"""Seconds a request, as at the classic pace; any number at once."""

Context = grpc.aio.ServicerContext[Any, Any]

OPTIONS = tuple(option for option in grpc_options.SERVER if option[0] != "grpc.max_allowed_incoming_connections")


class CrowdRng(RngService):
    """Another rng on each connection."""

    async def StreamRandomBytes(  # noqa: N802 - named as in protos/
        self, request_iterator: AsyncIterator[StreamRandomBytesRequest], context: Context
    ) -> AsyncIterator[RandomBatch]:
        """As the real one."""
        async for answer in RngService(context.peer(), self._pacing).StreamRandomBytes(request_iterator, context):
            yield answer


class CrowdHasher(HasherService):
    """Another hasher on each connection."""

    async def StreamHashes(  # noqa: N802 - named as in protos/
        self, request_iterator: AsyncIterator[MessageBatch], context: Context
    ) -> AsyncIterator[HashedBatch]:
        """As the real one."""
        one = HasherService(context.peer(), self._pacing, self._thread)
        async for answer in one.StreamHashes(request_iterator, context):
            yield answer


async def serve(rng_port: int, hasher_port: int) -> None:
    """Serve until the process is ended."""
    with closing(DigestThread(FALLBACK)) as thread:
        crowds: dict[int, tuple[str, RngService | HasherService]] = {
            rng_port: (rng_service.SERVICE, CrowdRng("", Pacing(DELAY, 0))),
            hasher_port: (hasher_service.SERVICE, CrowdHasher("", Pacing(DELAY, 0), thread)),
        }
        servers = []
        for port, (name, servicer) in crowds.items():
            server = grpc.aio.server(options=OPTIONS)
            servicer.add_to(server)
            statuses = grpc_health.aio.HealthServicer()
            await statuses.set(name, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
            server.add_insecure_port(f"0.0.0.0:{port}")
            await server.start()
            servers.append(server)
        await asyncio.gather(*(server.wait_for_termination() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:3])))
