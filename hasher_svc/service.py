from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import grpc
from dockercoins.hasher.v1 import hasher_service_pb2
from dockercoins.hasher.v1.hasher_service_pb2 import (
    HashRequest,
    HashResponse,
    StreamHashesRequest,
    StreamHashesResponse,
)

from chassis.grpc_server.allow_list import Callers
from chassis.grpc_server.bad_request import BadRequestError, check_between
from chassis.grpc_server.pacing import Pacing
from chassis.grpc_server.server import name_server
from chassis.limits import DIGEST_SIZE, MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from chassis.packed_field import PackedField
from hasher_svc.hashing import DigestThread

SERVICE = hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name

CALLERS: Callers = MappingProxyType(dict.fromkeys(("Hash", "StreamHashes"), frozenset({"worker"})))
"""Who may call what, by the names in their certificates."""

_MESSAGES = PackedField(StreamHashesRequest, "data")
_DIGESTS = PackedField(StreamHashesResponse, "digests")


class MessageBatch(NamedTuple):
    """What is to be hashed."""

    batch_id: int
    message_size: int
    data: bytes
    start: int
    """Where in data the messages begin."""
    traceparent: str

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """From a StreamHashesRequest. Raises DecodeError."""
        request, data, start = _MESSAGES.decode(encoded)
        return cls(request.batch_id, request.message_size, data, start, request.traceparent)


class HashedBatch(NamedTuple):
    """What answers a batch."""

    batch_id: int
    digests: bytes
    waited: float = 0.0
    """Seconds that it waited for its turn."""

    def encode(self) -> bytes:
        """As a StreamHashesResponse."""
        return _DIGESTS.encode(StreamHashesResponse(batch_id=self.batch_id), self.digests)


class HasherService:
    """SHA-256 digests, at the pace it is given."""

    def __init__(self, instance: str, pacing: Pacing, thread: DigestThread) -> None:
        self._instance = instance
        self._pacing = pacing
        self._thread = thread
        self.hashes = 0
        """Messages hashed, ever."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Have a server offer it."""
        handlers: dict[str, Any] = {
            "Hash": grpc.unary_unary_rpc_method_handler(
                self.Hash, HashRequest.FromString, HashResponse.SerializeToString
            ),
            "StreamHashes": grpc.stream_stream_rpc_method_handler(
                self.StreamHashes, MessageBatch.decode, HashedBatch.encode
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def Hash(self, request: HashRequest, context: grpc.aio.ServicerContext[Any, Any]) -> HashResponse:
        """One digest. Raises BadRequestError for data out of bounds."""
        check_between("data", len(request.data), 1, MAX_BATCH_BYTES, "bytes long")
        async with self._pacing.turn(context.peer()):
            digest = await self._thread.digests(request.data, len(request.data))
        self.hashes += 1
        return HashResponse(digest=digest, hex_digest=digest.hex(), served_by=self._instance)

    async def StreamHashes(
        self, request_iterator: AsyncIterator[MessageBatch], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[HashedBatch]:
        """A batch a request, in order. Raises BadRequestError for data or a message_size out of bounds."""
        await name_server(context, self._instance)
        peer = context.peer()
        attention = self._pacing.attention(peer)
        async for batch in request_iterator:
            _check(len(batch.data) - batch.start, batch.message_size)
            if not attention.take():
                await attention.wait()
            try:
                async with self._pacing.turn(peer) as turn:
                    digests = await self._thread.digests(batch.data, batch.message_size, batch.start)
                self.hashes += len(digests) // DIGEST_SIZE
                yield HashedBatch(batch.batch_id, digests, turn.waited)
            finally:
                attention.give()


def _check(length: int, size: int) -> None:
    check_between("data", length, 1, MAX_BATCH_BYTES, "bytes long")
    check_between("message_size", size, 1, MAX_BATCH_BYTES, "bytes")
    if length % size:
        raise BadRequestError("data", f"{length} bytes long", f"a multiple of message_size {size}")
    if length > MAX_BATCH_MESSAGES * size:
        raise BadRequestError("data", f"{length // size} messages", f"1 to {MAX_BATCH_MESSAGES} messages")
