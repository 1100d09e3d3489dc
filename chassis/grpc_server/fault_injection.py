"""A dial for faults: a part of the requests fails, hangs or takes longer, for tests and for teaching."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc

from chassis.grpc_server.method_interceptor import Context, MethodInterceptor, StreamBehavior, UnaryBehavior


class FaultInjection(MethodInterceptor):
    """Spoils requests to one service; those of health, reflection and channelz go through, as they would.

    It stands behind RequestDecoding and RequestTrace: what it spoils is a request like any other, and is traced as one.
    """

    def __init__(self, service: str, *, error_rate: float, hang_rate: float, slow: float) -> None:
        """The rates are parts of all requests, 0 to 1, a batch on a stream being one; slow is in seconds."""
        super().__init__(service)
        self._error_rate = error_rate
        self._hang_rate = hang_rate
        self._slow = slow

    async def _spoil(self, context: Context) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)
        chance = random.random()  # noqa: S311 - chance is no secret
        if chance < self._error_rate:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault that FAULT_ERROR_RATE asks for")
        if chance < self._error_rate + self._hang_rate:
            await asyncio.Event().wait()

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:  # noqa: ARG002 - all are alike
        """One that may be spoiled."""

        async def spoiled(request: object, context: Context) -> object:
            await self._spoil(context)
            return await behavior(request, context)

        return spoiled

    def stream(self, method: str, behavior: StreamBehavior) -> Any:  # noqa: ARG002 - all are alike
        """One whose requests may be spoiled."""

        async def spoiled(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            async def each() -> AsyncIterator[object]:
                async for request in requests:
                    await self._spoil(context)
                    yield request

            async for response in behavior(each(), context):
                yield response

        return spoiled
