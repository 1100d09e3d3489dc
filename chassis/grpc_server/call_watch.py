"""What becomes of the calls of a gRPC server: counted for the metrics as they go, and one line each when they end.

Calls that fail or carry nothing may be many, and short: a line a second stands for those of a method that end with the
same code.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pool

from chassis import log
from chassis.grpc_server.caller import caller
from chassis.grpc_server.method_interceptor import Context, MethodInterceptor, StreamBehavior, UnaryBehavior
from chassis.log import ThrottledLogger
from chassis.telemetry.rpc_metrics import MethodCounts, RpcMetrics

Admit = Callable[[Context], Awaitable[None]]
"""Aborts a call that is one too many."""

CANCELLATION_LAG = 0.005
"""Seconds after the end of a stream's requests within which gRPC says whether the client half-closed or was gone: both
look the same to who reads, and with less (one turn of the event loop) one in ten cancelled streams was taken for OK."""

SHORT = 0.1
"""Seconds: a stream that took less is not kept that much longer only to be counted right."""


class CallWatch(MethodInterceptor):
    """Watches the calls of one service; those of health, reflection and channelz are not what people ask about.

    It counts the bytes of encoded messages, so it goes in front of RequestDecoding.
    """

    def __init__(self, service: str, metrics: RpcMetrics, admit: Admit) -> None:
        """Each call is first admitted, or refused and counted as such."""
        super().__init__(service)
        self._admit = admit
        self._counts: dict[str, MethodCounts] = {}
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            path = f"/{service}/{method.name}"
            self._counts[method.name] = metrics.method("bidi_stream" if method.server_streaming else "unary", path)
        self._lines = _Lines()

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        self._lines.flush()

    def close(self) -> None:
        """Say what is not yet said."""
        self._lines.close()

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:
        """One that is counted, and gets a line."""
        return _unary(method, self._counts[method], self._lines, self._admit, behavior)

    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """One that is counted with its messages, and gets a line."""
        return _stream(method, self._counts[method], self._lines, self._admit, behavior)


class _Lines:
    """One line for each call that ends well with a response; for others, one a second for each method and code."""

    def __init__(self) -> None:
        self._alike: dict[tuple[str, grpc.StatusCode], ThrottledLogger] = {}

    def add(self, method: str, code: grpc.StatusCode, fields: Mapping[str, object]) -> None:
        if code is grpc.StatusCode.OK and fields["batches"]:
            log.get().info(method, **fields)
            return
        alike = self._alike.get((method, code))
        if alike is None:
            alike = self._alike[method, code] = ThrottledLogger(method, interval_s=1.0, level="info")
        alike.log(**fields)

    def flush(self) -> None:
        for alike in self._alike.values():
            alike.flush()

    def close(self) -> None:
        for alike in self._alike.values():
            alike.close()


class _Call:
    """A context that counts the call and logs it when it is left, by whatever way."""

    def __init__(self, method: str, counts: MethodCounts, lines: _Lines, context: Context) -> None:
        self._method = method
        self._counts = counts
        self._lines = lines
        self._context = context
        self._caller = caller(context)
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
        code = self._code(error)
        seconds = self.seconds
        self._counts.ended(code.name, seconds)
        fields = {
            **self._caller,
            "code": code.name,
            "seconds": round(seconds, 4),
            "batches": self._batches,
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
        }
        self._lines.add(self._method, code, fields)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None:
            return grpc.StatusCode.OK
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return grpc.StatusCode.CANCELLED
        code: Any = self._context.code()
        return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _unary(method: str, counts: MethodCounts, lines: _Lines, admit: Admit, behavior: UnaryBehavior) -> Any:
    async def watched(request: bytes, context: Context) -> bytes:
        with _Call(method, counts, lines, context) as call:
            await admit(context)
            call.received(request)
            response: bytes = await behavior(request, context)
            call.sent(response)
            return response

    return watched


def _stream(method: str, counts: MethodCounts, lines: _Lines, admit: Admit, behavior: StreamBehavior) -> Any:
    async def watched(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        with _Call(method, counts, lines, context) as call:
            await admit(context)

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
