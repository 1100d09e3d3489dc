"""The servicer of hasher: it validates requests and computes digests."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

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

from chassis.batch_limits import DIGEST_SIZE, MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, BadRequestError, check_batches
from chassis.grpc_options import SERVED_BY
from chassis.grpc_server.access_log import work
from chassis.grpc_server.allow_list import Callers
from chassis.large_fields import with_large_field
from hasher_svc.hashing import DigestThread

SERVICE = hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name

CALLERS: Callers = {"Hash": frozenset({"worker"}), "StreamHashes": frozenset({"worker"})}


class Batch(NamedTuple):
    """A batch of a request, read once: protobuf copies the data each time it is read."""

    batch_id: int
    data: bytes
    message_size: int


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
        work.set([(1, len(data))])
        return HashResponse(digest=digest, hex_digest=digest.hex(), served_by=self._instance)

    async def StreamHashes(
        self, request_iterator: AsyncIterator[StreamHashesRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[StreamHashesResponse]:
        """Yield the batches of each request, in order. Raises BadRequestError if one of them is not allowed."""
        await context.send_initial_metadata(((SERVED_BY, self._instance),))
        async for request in request_iterator:
            batches = [Batch(each.batch_id, each.data, each.message_size) for each in request.batches]
            measured = check_batches(batches, _messages_and_bytes)
            digests = [await self._thread.digests(batch.data, batch.message_size) for batch in batches]
            self._hashes.inc(sum(map(len, digests)) // DIGEST_SIZE)
            work.set(measured)
            response = StreamHashesResponse(
                batches=[StreamHashesResponse.Batch(batch_id=batch.batch_id) for batch in batches]
            )
            yield with_large_field(response, "digests", digests)


def _messages_and_bytes(batch: Batch) -> tuple[int, int]:
    length, size = len(batch.data), batch.message_size
    _check_length(length)
    if not 1 <= size <= MAX_BATCH_BYTES:
        raise BadRequestError("message_size", size, f"1 to {MAX_BATCH_BYTES} bytes")
    if length % size:
        raise BadRequestError("data", f"{length} bytes long", f"a multiple of message_size {size}")
    if length > MAX_BATCH_MESSAGES * size:
        raise BadRequestError("data", f"{length // size} messages", f"1 to {MAX_BATCH_MESSAGES} messages")
    return length // size, length


def _check_length(length: int) -> None:
    if not 1 <= length <= MAX_BATCH_BYTES:
        raise BadRequestError("data", length, f"1 to {MAX_BATCH_BYTES} bytes long")


def describe(messages: int, size: int) -> str:
    """Describe requests of this many messages and bytes in the access log."""
    noun = "message" if messages == 1 else "messages"
    return f"hashed {messages:,} {noun} of {size // max(messages, 1):,} bytes"
