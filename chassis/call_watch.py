"""What becomes of the calls of a gRPC server: counted for the metrics as they go, and one line each when they end."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pool

from chassis import log
from chassis.metadata import CLIENT_ID, STREAM_ID
from chassis.request_decoding import Context, Continuation, Handler, StreamBehavior, UnaryBehavior
from chassis.telemetry.rpc_metrics import MethodCounts, RpcMetrics

CANCELLATION_LAG = 0.005
"""Seconds after the end of a stream's requests within which gRPC says whether the client half-closed or was gone: both
look the same to who reads, and with less (one turn of the event loop) one in ten cancelled streams was taken for OK."""

SHORT = 0.1
"""Seconds: a stream that took less is not kept that much longer only to be counted right."""


class CallWatch(grpc.aio.ServerInterceptor):
    """Watches the calls of one service; those of health, reflection and channelz are not what people ask about.

    It counts the bytes of encoded messages, so it goes in front of RequestDecoding.
    """

    def __init__(self, service: str, metrics: RpcMetrics) -> None:
        self._prefix = f"/{service}/"
        self._counts: dict[str, MethodCounts] = {}
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            path = self._prefix + method.name
            self._counts[path] = metrics.method("bidi_stream" if method.server_streaming else "unary", path)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, watched; None when there is no such method."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(self._prefix):
            return handler
        method = path.removeprefix(self._prefix)
        counts = self._counts[path]
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(method, counts, handler.unary_unary))
        return grpc.stream_stream_rpc_method_handler(_stream(method, counts, handler.stream_stream))


class _Call:
    """A context that counts the call and logs it when it is left, by whatever way."""

    def __init__(self, method: str, counts: MethodCounts, context: Context) -> None:
        self._method = method
        self._counts = counts
        self._context = context
        self._caller = _caller(context)
        self._began = time.monotonic()
        self._batches = 0
        self._bytes_in = 0
        self._bytes_out = 0
        counts.started += 1

    def received(self, message: bytes) -> None:
        self._counts.received += 1
        self._bytes_in += len(message)

    def sent(self, message: bytes) -> None:
        self._counts.sent += 1
        self._batches += 1
        self._bytes_out += len(message)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        code = self._code(error).name
        seconds = self.seconds
        self._counts.ended(code, seconds)
        log.get().info(
            self._method,
            **self._caller,
            code=code,
            seconds=round(seconds, 4),
            batches=self._batches,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
        )

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None:
            return grpc.StatusCode.OK
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return grpc.StatusCode.CANCELLED
        code: Any = self._context.code()
        return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _caller(context: Context) -> dict[str, str]:
    """Whose call it is, as far as it says so: a worker gives its own name, and a number to each of its streams."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    caller = {"peer": metadata.get(CLIENT_ID) or context.peer()}
    if STREAM_ID in metadata:
        caller["stream"] = metadata[STREAM_ID]
    return caller


def _unary(method: str, counts: MethodCounts, behavior: UnaryBehavior) -> Any:
    async def watched(request: bytes, context: Context) -> bytes:
        with _Call(method, counts, context) as call:
            call.received(request)
            response = await behavior(request, context)
            call.sent(response)
            return response

    return watched


def _stream(method: str, counts: MethodCounts, behavior: StreamBehavior) -> Any:
    async def watched(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        with _Call(method, counts, context) as call:

            async def received() -> AsyncIterator[bytes]:
                async for request in requests:
                    call.received(request)
                    yield request

            async for response in behavior(received(), context):
                call.sent(response)
                yield response
            if log.get().is_enabled_for(logging.INFO) or call.seconds >= SHORT:
                await asyncio.sleep(CANCELLATION_LAG)

    return watched
