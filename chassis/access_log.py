"""One line for each call that ended: who asked what, how it ended, how long it took and how much went through."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from chassis import log
from chassis.request_decoding import Context, Continuation


class AccessLog(grpc.aio.ServerInterceptor):
    """Logs the calls of one service; those of health, reflection and channelz are not what people watch.

    It counts the bytes of encoded messages, so it goes in front of RequestDecoding.
    """

    def __init__(self, service: str) -> None:
        self._prefix = f"/{service}/"

    async def intercept_service(  # type: ignore[override]  # types-grpcio has the synchronous signature
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        method = handler_call_details.method.removeprefix(self._prefix)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(method, handler.unary_unary))
        return grpc.stream_stream_rpc_method_handler(_stream(method, handler.stream_stream))


@dataclass
class _Call:
    method: str
    context: Context
    began: float = field(default_factory=time.monotonic)
    batches: int = 0
    received: int = 0
    sent: int = 0

    def ended(self, *, cancelled: bool) -> None:
        code = grpc.StatusCode.CANCELLED if cancelled else self.context.code() or grpc.StatusCode.OK
        metadata = dict(self.context.invocation_metadata() or ())
        log.get().info(
            self.method,
            peer=metadata.get("client-id") or self.context.peer(),
            code=code.name if isinstance(code, grpc.StatusCode) else grpc.StatusCode(code).name,
            seconds=round(time.monotonic() - self.began, 4),
            batches=self.batches,
            bytes_in=self.received,
            bytes_out=self.sent,
        )


def _unary(
    method: str, behavior: Callable[[bytes, Context], Awaitable[bytes]]
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def logged(request: bytes, context: Context) -> bytes:
        call = _Call(method, context, batches=1, received=len(request))
        cancelled = False
        try:
            response = await behavior(request, context)
            call.sent = len(response)
        except asyncio.CancelledError:
            cancelled = True
            raise
        else:
            return response
        finally:
            call.ended(cancelled=cancelled)

    return logged


def _stream(
    method: str, behavior: Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
    async def logged(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        call = _Call(method, context)

        async def counted() -> AsyncIterator[bytes]:
            async for request in requests:
                call.received += len(request)
                yield request

        cancelled = False
        try:
            async for response in behavior(counted(), context):
                call.batches += 1
                call.sent += len(response)
                yield response
        except (asyncio.CancelledError, GeneratorExit):
            cancelled = True
            raise
        finally:
            call.ended(cancelled=cancelled)

    return logged
