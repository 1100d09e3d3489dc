"""Messages that are not of the method's type: refused as the bad requests they are.

gRPC's own answer to bytes that can't be decoded is UNKNOWN or INTERNAL, which blames the server. So the handlers behind
this interceptor exchange bytes with gRPC, and the messages are made and unmade here. A line in the log says what was
wrong with which batch, for its sender may keep it to itself: one a second, however many there are.
"""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from chassis.grpc_server.bad_request import BadRequestError, abort
from chassis.grpc_server.caller import caller
from chassis.grpc_server.method_interceptor import Context, Continuation, Handler
from chassis.log import ThrottledLogger


class RequestDecoding(grpc.aio.ServerInterceptor):
    """Ends a call with INVALID_ARGUMENT when a message can't be decoded or a handler raises BadRequestError."""

    def __init__(self) -> None:
        self._refusals = ThrottledLogger("request refused", interval_s=1.0)

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        self._refusals.flush()

    def close(self) -> None:
        """Say what is not yet said."""
        self._refusals.close()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, decoding; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method.rpartition("/")[2]
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler))
        if handler.unary_stream:
            behavior = self._unary_stream(method, handler)
            return grpc.unary_stream_rpc_method_handler(behavior, None, handler.response_serializer)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(self._stream(method, handler))
        return handler

    def _unary(self, method: str, handler: Handler) -> Any:
        async def behavior(raw: bytes, context: Context) -> bytes:
            try:
                response = await handler.unary_unary(_decode(handler, raw), context)
            except BadRequestError as error:
                self._refusals.log(method=method, **caller(context), details=str(error))
                await abort(context, error)
            if response is None:  # the code that the handler has set says why, as channelz does of what is not there
                return b""
            serialized: bytes = handler.response_serializer(response)
            return serialized

        return behavior

    def _unary_stream(self, method: str, handler: Handler) -> Any:
        async def decoded(raw: bytes, context: Context) -> Any:
            try:
                return _decode(handler, raw)
            except BadRequestError as error:
                self._refusals.log(method=method, **caller(context), details=str(error))
                await abort(context, error)

        async def generated(raw: bytes, context: Context) -> AsyncIterator[Any]:
            async for response in handler.unary_stream(await decoded(raw, context), context):
                yield response

        async def written(raw: bytes, context: Context) -> None:
            await handler.unary_stream(await decoded(raw, context), context)

        return generated if inspect.isasyncgenfunction(handler.unary_stream) else written

    def _stream(self, method: str, handler: Handler) -> Any:
        async def behavior(raw: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            message: Any = None

            async def decoded() -> AsyncIterator[Any]:
                nonlocal message
                async for encoded in raw:
                    message = None
                    message = _decode(handler, encoded)
                    yield message

            try:
                async for response in handler.stream_stream(decoded(), context):
                    yield handler.response_serializer(response)
            except BadRequestError as error:
                batch_id = getattr(message, "batch_id", None)
                batch = {} if batch_id is None else {"batch": batch_id}
                self._refusals.log(method=method, **caller(context), **batch, details=str(error))
                await abort(context, error)

        return behavior


def _decode(handler: Handler, raw: bytes) -> Any:
    try:
        return handler.request_deserializer(raw)
    except DecodeError:
        raise BadRequestError("(message)", f"{len(raw)} bytes", "a message of this method's request type") from None
