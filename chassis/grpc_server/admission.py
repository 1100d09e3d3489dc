"""How many calls one client may have open at a gRPC server, so that there is room for the others."""

import asyncio
import inspect
from collections import Counter
from functools import partial
from typing import Any, NoReturn

import grpc

from chassis.grpc_server.fair_queue import address_of
from chassis.grpc_server.method_interceptor import Context, Continuation, Handler

MAX_CALLS = 4_096
"""Open at the same time; each keeps some 22 KiB. Two hundred classic workers at one serial rng have a thousand."""

MAX_CALLS_OF_AN_ADDRESS = MAX_CALLS // 2
"""Of these: one address may be that of many clients, behind NAT or on one machine, and still leaves room for others."""

MAX_CALLS_ACCEPTED = MAX_CALLS + 1_024
"""Where gRPC itself refuses, those included whose request has not come: until it has, nobody can say whose it is."""

_ALWAYS = "/grpc.health.v1.Health/Check"
"""A probe is answered at once, and must be."""


class Admission(grpc.aio.ServerInterceptor):
    """Refuses calls beyond the bounds with RESOURCE_EXHAUSTED. It goes in front of all others, which it counts for.

    As an interceptor it does so for all services but one, whose calls must be passed to admit(): they have many
    messages, and one more generator around each of them has its price.
    """

    def __init__(self, service: str) -> None:
        """All but this one."""
        self._prefix = f"/{service}/"
        self._by_address: Counter[str] = Counter()
        self.open = 0
        """Calls, those included whose request has not come yet."""
        self.refused: Counter[str] = Counter(address=0, all=0)
        """Calls, by the bound that was reached, ever."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, bounded; None when there is no such method."""
        if (call := asyncio.current_task()) is not None:
            self.open += 1
            call.add_done_callback(self._over)
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method == _ALWAYS or method.startswith(self._prefix):
            return handler
        return self._bounded(handler)

    def _bounded(self, handler: Handler) -> Handler:
        behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream

        async def awaited(request: Any, context: Context) -> Any:
            await self.admit(context)
            return await behavior(request, context)

        async def generated(request: Any, context: Context) -> Any:
            await self.admit(context)
            async for response in behavior(request, context):
                yield response

        bounded: Any = generated if inspect.isasyncgenfunction(behavior) else awaited
        coders = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(bounded, *coders)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(bounded, *coders)
        return grpc.stream_stream_rpc_method_handler(bounded, *coders)

    async def admit(self, context: Context) -> None:
        """Count a call until it ends, or abort it."""
        address = address_of(context.peer())
        if self._by_address[address] >= MAX_CALLS_OF_AN_ADDRESS:
            await self._refuse(context, "address", f"{MAX_CALLS_OF_AN_ADDRESS} calls of one address are open")
        if self._by_address.total() >= MAX_CALLS:
            await self._refuse(context, "all", f"{MAX_CALLS} calls are open")
        self._by_address[address] += 1
        ended: Any = partial(self._ended, address)  # typed for functions alone
        context.add_done_callback(ended)

    async def _refuse(self, context: Context, bound: str, reason: str) -> NoReturn:
        self.refused[bound] += 1
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{reason}, which is all that there may be")
        raise AssertionError  # abort() has raised

    def _over(self, _: object) -> None:
        self.open -= 1

    def _ended(self, address: str, _: Context) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
