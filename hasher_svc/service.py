from collections.abc import AsyncIterator
from typing import Any

import grpc
from dockercoins.hasher.v1 import hasher_service_pb2_grpc
from dockercoins.hasher.v1.hasher_service_pb2 import (
    HashRequest,
    HashResponse,
    StreamHashesRequest,
    StreamHashesResponse,
)

from chassis.bad_request import BadRequestError, check_between
from chassis.grpc_server import name_server
from chassis.limits import MAX_BATCH_BYTES, MAX_BATCH_COUNT
from chassis.pacing import Pacing
from hasher_svc.digests import DigestThread


class HasherService(hasher_service_pb2_grpc.HasherServiceServicer):
    """SHA-256 digests, at the pace it is given."""

    def __init__(self, instance: str, pacing: Pacing, thread: DigestThread) -> None:
        self._instance = instance
        self._pacing = pacing
        self._thread = thread

    async def Hash(self, request: HashRequest, context: grpc.aio.ServicerContext[Any, Any]) -> HashResponse:
        """One digest. Raises BadRequestError for data out of bounds."""
        check_between("data", len(request.data), 1, MAX_BATCH_BYTES, "bytes long")
        async with self._pacing.turn():
            digest = await self._thread.digests(request.data, len(request.data))
        return HashResponse(digest=digest, hex_digest=digest.hex(), served_by=self._instance)

    async def StreamHashes(
        self, request_iterator: AsyncIterator[StreamHashesRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[StreamHashesResponse]:
        """A batch a request, in order. Raises BadRequestError for data or a message_size out of bounds."""
        await name_server(context, self._instance)
        async for request in request_iterator:
            data, size = request.data, request.message_size  # protobuf copies bytes each time they are read
            _check(data, size)
            async with self._pacing.turn():
                packed = await self._thread.digests(data, size)
            yield StreamHashesResponse(batch_id=request.batch_id, digests=packed)


def _check(data: bytes, size: int) -> None:
    length = len(data)
    check_between("data", length, 1, MAX_BATCH_BYTES, "bytes long")
    check_between("message_size", size, 1, MAX_BATCH_BYTES, "bytes")
    if length % size:
        raise BadRequestError("data", f"{length} bytes long", f"a multiple of message_size {size}")
    if length > MAX_BATCH_COUNT * size:
        raise BadRequestError("data", f"{length // size} messages", f"1 to {MAX_BATCH_COUNT} messages")
