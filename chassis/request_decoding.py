"""Messages that are not of the method's type: refused as the bad requests they are.

gRPC's own answer to bytes that can't be decoded is UNKNOWN or INTERNAL, which blames the server. So the handlers behind
this interceptor exchange bytes with gRPC, and the messages are made and unmade here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from chassis.bad_request import BadRequestError, abort

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any
"""A grpc.RpcMethodHandler; types-grpcio knows only those of synchronous servers."""
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
UnaryBehavior = Callable[[bytes, Context], Awaitable[bytes]]
StreamBehavior = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]
DecodedUnaryBehavior = Callable[[Any, Context], Awaitable[Any]]
DecodedStreamBehavior = Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]
"""Behind RequestDecoding."""


class RequestDecoding(grpc.aio.ServerInterceptor):
    """Ends a call with INVALID_ARGUMENT when a message can't be decoded or a handler raises BadRequestError."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, decoding; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler))
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(_stream(handler))
        return handler


def _decode(handler: Handler, raw: bytes) -> Any:
    try:
        return handler.request_deserializer(raw)
    except DecodeError:
        raise BadRequestError("(message)", f"{len(raw)} bytes", "a message of this method's request type") from None


def _unary(handler: Handler) -> Any:
    async def behavior(raw: bytes, context: Context) -> bytes:
        try:
            response = await handler.unary_unary(_decode(handler, raw), context)
        except BadRequestError as error:
            await abort(context, error)
        serialized: bytes = handler.response_serializer(response)
        return serialized

    return behavior


def _stream(handler: Handler) -> Any:
    async def decoded(raw: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in raw:
            yield _decode(handler, message)

    async def behavior(raw: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for response in handler.stream_stream(decoded(raw), context):
                yield handler.response_serializer(response)
        except BadRequestError as error:
            await abort(context, error)

    return behavior
