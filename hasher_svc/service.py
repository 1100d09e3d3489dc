"""The servicer of hasher: it validates requests and computes digests."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from dockercoins.hasher.v1 import hasher_service_pb2
from dockercoins.hasher.v1.hasher_service_pb2 import (
    HashRequest,
    HashResponse,
    StreamHashesRequest,
    StreamHashesResponse,
)
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceServicer
from prometheus_client import CollectorRegistry, Counter

from chassis.batch_limits import DIGEST_SIZE, MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from chassis.grpc_options import SERVED_BY
from chassis.grpc_server.access_log import work
from chassis.grpc_server.allow_list import Callers
from chassis.grpc_server.bad_request import BadRequestError
from chassis.large_fields import with_large_field
from hasher_svc.hashing import DigestThread

SERVICE = hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name

CALLERS: Callers = {"Hash": frozenset({"worker"}), "StreamHashes": frozenset({"worker"})}


class HasherService(HasherServiceServicer):
    """Computes SHA-256 digests."""

    def __init__(self, instance: str, thread: DigestThread, metrics: CollectorRegistry) -> None:
        self._instance = instance
        self._thread = thread
        self._hashes = Counter("dockercoins_hasher_hashes", "Messages hashed", registry=metrics)

    async def Hash(self, request: HashRequest, context: grpc.aio.ServicerContext[Any, Any]) -> HashResponse:
        """Return one digest. Raises BadRequestError for data of an invalid length."""
        data = request.data
        _check_length(len(data))
        digest = await self._thread.digests(data, len(data))
        self._hashes.inc()
        work.set((1, 1, len(data)))
        return HashResponse(digest=digest, hex_digest=digest.hex(), served_by=self._instance)

    async def StreamHashes(
        self, request_iterator: AsyncIterator[StreamHashesRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[StreamHashesResponse]:
        """Yield a batch for each request, in order. Raises BadRequestError for an invalid length or message_size."""
        await context.send_initial_metadata(((SERVED_BY, self._instance),))
        async for request in request_iterator:
            data = request.data
            _check(len(data), request.message_size)
            digests = await self._thread.digests(data, request.message_size)
            hashes = len(digests) // DIGEST_SIZE
            self._hashes.inc(hashes)
            work.set((1, hashes, len(data)))
            yield with_large_field(StreamHashesResponse(batch_id=request.batch_id), "digests", digests)


def _check(length: int, size: int) -> None:
    _check_length(length)
    if not 1 <= size <= MAX_BATCH_BYTES:
        raise BadRequestError("message_size", size, f"1 to {MAX_BATCH_BYTES} bytes")
    if length % size:
        raise BadRequestError("data", f"{length} bytes long", f"a multiple of message_size {size}")
    if length > MAX_BATCH_MESSAGES * size:
        raise BadRequestError("data", f"{length // size} messages", f"1 to {MAX_BATCH_MESSAGES} messages")


def _check_length(length: int) -> None:
    if not 1 <= length <= MAX_BATCH_BYTES:
        raise BadRequestError("data", length, f"1 to {MAX_BATCH_BYTES} bytes long")


def describe(messages: int, size: int) -> str:
    """Describe requests of this many messages and bytes in the access log."""
    noun = "message" if messages == 1 else "messages"
    return f"hashed {messages:,} {noun} of {size // max(messages, 1):,} bytes"
