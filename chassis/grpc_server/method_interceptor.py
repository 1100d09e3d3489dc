"""An interceptor that stands around the methods of one service, whatever it does there."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any
"""A grpc.RpcMethodHandler; types-grpcio knows only those of synchronous servers."""
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
UnaryBehavior = Callable[[Any, Context], Awaitable[Any]]
StreamBehavior = Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]
"""What a handler does, of the two kinds of methods that the services here have."""


class MethodInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Leaves the methods of other services as they are: those of health, reflection and channelz."""

    def __init__(self, service: str) -> None:
        self._prefix = f"/{service}/"

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, with this around it; None when there is no such method."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(self._prefix):
            return handler
        method = path.removeprefix(self._prefix)
        coders = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self.unary(method, handler.unary_unary), *coders)
        return grpc.stream_stream_rpc_method_handler(self.stream(method, handler.stream_stream), *coders)

    @abstractmethod
    def unary(self, method: str, behavior: UnaryBehavior) -> Any:
        """What becomes of a single call of this method."""

    @abstractmethod
    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """What becomes of a stream of this method."""
