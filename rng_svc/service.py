import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
from dockercoins.rng.v1 import rng_service_pb2_grpc
from dockercoins.rng.v1.rng_service_pb2 import (
    GetRandomBytesRequest,
    GetRandomBytesResponse,
    StreamRandomBytesRequest,
    StreamRandomBytesResponse,
)

from chassis.bad_request import BadRequestError, check_between
from chassis.grpc_server import name_server
from chassis.limits import MAX_BATCH_BYTES, MAX_BATCH_COUNT
from chassis.pacing import Pacing


async def check_source() -> bool:
    """Whether the operating system's source gives other bytes each time; chance repeats 16 bytes never."""
    return os.urandom(16) != os.urandom(16)


class RngService(rng_service_pb2_grpc.RngServiceServicer):
    """Random bytes from the operating system, at the pace it is given."""

    def __init__(self, instance: str, pacing: Pacing) -> None:
        self._instance = instance
        self._pacing = pacing

    async def GetRandomBytes(
        self, request: GetRandomBytesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRandomBytesResponse:
        """One piece. Raises BadRequestError for a size out of bounds."""
        check_between("size", request.size, 1, MAX_BATCH_BYTES, "bytes")
        async with self._pacing.turn():
            return GetRandomBytesResponse(data=os.urandom(request.size), served_by=self._instance)

    async def StreamRandomBytes(
        self,
        request_iterator: AsyncIterator[StreamRandomBytesRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[StreamRandomBytesResponse]:
        """A batch a request, in order. Raises BadRequestError for a count or size out of bounds."""
        await name_server(context, self._instance)
        async for request in request_iterator:
            check_between("count", request.count, 1, MAX_BATCH_COUNT, "messages")
            check_between("size", request.size, 1, MAX_BATCH_BYTES, "bytes")
            length = request.count * request.size
            if length > MAX_BATCH_BYTES:
                raise BadRequestError(
                    "size", request.size, f"at most {MAX_BATCH_BYTES} bytes with count {request.count}"
                )
            async with self._pacing.turn():
                response = StreamRandomBytesResponse(batch_id=request.batch_id, data=os.urandom(length))
            yield response
