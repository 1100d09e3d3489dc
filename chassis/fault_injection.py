"""A dial for faults: a part of the requests fails, hangs or takes longer, for tests and for teaching."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc

from chassis.request_decoding import (
    Context,
    Continuation,
    DecodedStreamBehavior,
    DecodedUnaryBehavior,
    Handler,
)


class FaultInjection(grpc.aio.ServerInterceptor):
    """Spoils requests to one service; those of health, reflection and channelz go through, as they would.

    It stands behind RequestDecoding and RequestTrace: what it spoils is a request like any other, and is traced as one.
    """

    def __init__(self, service: str, *, error_rate: float, hang_rate: float, slow: float) -> None:
        """The rates are parts of all requests, 0 to 1, a batch on a stream being one; slow is in seconds."""
        self._prefix = f"/{service}/"
        self._error_rate = error_rate
        self._hang_rate = hang_rate
        self._slow = slow

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, spoiled; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream(handler.stream_stream), handler.request_deserializer, handler.response_serializer
        )

    async def _spoil(self, context: Context) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)
        chance = random.random()  # noqa: S311 - chance is no secret
        if chance < self._error_rate:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault that FAULT_ERROR_RATE asks for")
        if chance < self._error_rate + self._hang_rate:
            await asyncio.Event().wait()

    def _unary(self, behavior: DecodedUnaryBehavior) -> Any:
        async def spoiled(request: object, context: Context) -> object:
            await self._spoil(context)
            return await behavior(request, context)

        return spoiled

    def _stream(self, behavior: DecodedStreamBehavior) -> Any:
        async def spoiled(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            async def each() -> AsyncIterator[object]:
                async for request in requests:
                    await self._spoil(context)
                    yield request

            async for response in behavior(each(), context):
                yield response

        return spoiled
