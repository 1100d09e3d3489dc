"""Interceptors around the methods of a service: access log and metrics, decoding, traces, faults.

Limits and the allow list are interceptors, too, each in its own module; chassis.grpc_server.server has the order.
"""

import asyncio
import inspect
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message

from chassis import log
from chassis.grpc_options import CLIENT_ID, MAX_NAME, STREAM_ID, TRACEPARENT
from chassis.grpc_server.bad_request import BadRequestError, abort
from chassis.log import ThrottledLogger
from chassis.telemetry.rpc_metrics import MethodCounts, RpcMetrics

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from chassis.telemetry.tracing import Tracing

Context = grpc.aio.ServicerContext[Any, Any]
# A grpc.RpcMethodHandler; types-grpcio has only those of synchronous servers.
Handler = Any
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
UnaryBehavior = Callable[[Any, Context], Awaitable[Any]]
StreamBehavior = Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]

# A worker appends a hyphen and 8 digits to its instance's name.
MAX_PEER_LENGTH = MAX_NAME + 9
MAX_STREAM_ID_DIGITS = 18

# How long after the end of a stream's requests gRPC reports whether the client half-closed or cancelled it; both look
# the same to a reader. With one iteration of the event loop one in ten cancelled streams was taken for OK.
CANCELLATION_LAG_S = 0.005

# A shorter stream is not kept open for that long only to be counted right.
SHORT_S = 0.1

# An attribute of spans: how long a request of a stream waited for its slot, which the limits set.
WAITED = "dockercoins.waited_seconds"
waited_s: ContextVar[float] = ContextVar("waited_s", default=0.0)


class MethodInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Wraps the methods of one service; those of health, reflection and channelz stay as they are."""

    def __init__(self, service: str) -> None:
        self._prefix = f"/{service}/"

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the method's handler with a wrapped behavior, or None when there is no such method."""
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
        """Wrap the behavior of a unary method."""

    @abstractmethod
    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """Wrap the behavior of a streaming method."""


class CallLog:
    """Lines about calls of which there may be many: at most one a second for each event and key."""

    def __init__(self) -> None:
        self._loggers: dict[tuple[str, str], ThrottledLogger] = {}

    def add(self, level: Literal["info", "warning"], event: str, key: str = "", /, **fields: object) -> None:
        """Log an event, or count it for a later line."""
        logger = self._loggers.get((event, key))
        if logger is None:
            logger = self._loggers[event, key] = ThrottledLogger(event, interval_s=1.0, level=level)
        logger.log(**fields)

    def flush(self) -> None:
        """Log what is held back, if the interval has passed."""
        for logger in self._loggers.values():
            logger.flush()

    def close(self) -> None:
        """Log what is held back."""
        for logger in self._loggers.values():
            logger.close()


def _caller(context: Context) -> dict[str, str | int]:
    """Return log fields that name the client and, if it is a worker's, the stream."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    fields: dict[str, str | int] = {"peer": metadata.get(CLIENT_ID, "")[:MAX_PEER_LENGTH] or context.peer()}
    stream = metadata.get(STREAM_ID, "")
    if stream.isdecimal() and len(stream) <= MAX_STREAM_ID_DIGITS:
        fields["stream"] = int(stream)
    return fields


class AccessLog(MethodInterceptor):
    """Logs each call of one service when it ends, and counts it and its messages.

    A call that ends well with a response has a line of its own. It counts the bytes of encoded messages, so it stands
    before Decoding.
    """

    def __init__(self, service: str, metrics: RpcMetrics, call_log: CallLog) -> None:
        super().__init__(service)
        self._log = call_log
        self._counts: dict[str, MethodCounts] = {}
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            kind: Literal["bidi_stream", "unary"] = "bidi_stream" if method.server_streaming else "unary"
            self._counts[method.name] = metrics.method(kind, f"/{service}/{method.name}")

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:
        """Wrap the behavior of a unary method."""

        async def logged(request: bytes, context: Context) -> bytes:
            with _Call(method, self._counts[method], self._log, context) as call:
                call.received(request)
                response: bytes = await behavior(request, context)
                call.sent(response)
                return response

        return logged

    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """Wrap the behavior of a streaming method."""

        async def logged(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            with _Call(method, self._counts[method], self._log, context) as call:

                async def received() -> AsyncIterator[bytes]:
                    async for request in requests:
                        call.received(request)
                        yield request

                async for response in behavior(received(), context):
                    call.sent(response)
                    yield response
                if log.get().is_enabled_for(logging.INFO) or call.seconds >= SHORT_S:
                    await asyncio.sleep(CANCELLATION_LAG_S)

        return logged


class _Call:
    """Counts a call from entering to leaving it as a context, and logs it then."""

    def __init__(self, method: str, counts: MethodCounts, call_log: CallLog, context: Context) -> None:
        self._method = method
        self._counts = counts
        self._log = call_log
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
        if code is grpc.StatusCode.OK and self._batches:
            log.get().info(self._method, **fields)
        else:
            self._log.add("info", self._method, code.name, **fields)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None:
            return grpc.StatusCode.OK
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return grpc.StatusCode.CANCELLED
        code: Any = self._context.code()
        return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


class Decoding(grpc.aio.ServerInterceptor):
    """Ends a call with INVALID_ARGUMENT when a message can't be decoded or the method raises BadRequestError.

    gRPC's own response to bytes that can't be decoded is UNKNOWN or INTERNAL, which blames the server. So handlers
    before this interceptor exchange bytes, of any service, and messages are decoded and encoded here. The log says what
    was wrong with which batch, as its sender may not.
    """

    def __init__(self, call_log: CallLog) -> None:
        self._log = call_log

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return a handler of encoded messages, or None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method.rpartition("/")[2]
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler))
        if handler.unary_stream:
            behavior = self._unary_stream(method, handler)
            return grpc.unary_stream_rpc_method_handler(behavior, None, handler.response_serializer)
        return grpc.stream_stream_rpc_method_handler(self._stream(method, handler))

    async def _refuse(self, method: str, context: Context, error: BadRequestError, **fields: int) -> None:
        self._log.add("warning", "request refused", method=method, **_caller(context), **fields, details=str(error))
        await abort(context, error)

    def _unary(self, method: str, handler: Handler) -> Any:
        async def decoded(raw: bytes, context: Context) -> bytes:
            response = None
            try:
                response = await handler.unary_unary(_decode(handler, raw), context)
            except BadRequestError as error:
                await self._refuse(method, context, error)
            # channelz sets a code and returns None for what does not exist.
            return b"" if response is None else _encode(response)

        return decoded

    def _unary_stream(self, method: str, handler: Handler) -> Any:
        async def decode(raw: bytes, context: Context) -> Any:
            try:
                return _decode(handler, raw)
            except BadRequestError as error:
                await self._refuse(method, context, error)

        async def generated(raw: bytes, context: Context) -> AsyncIterator[Any]:
            async for response in handler.unary_stream(await decode(raw, context), context):
                yield response

        async def written(raw: bytes, context: Context) -> None:
            await handler.unary_stream(await decode(raw, context), context)

        return generated if inspect.isasyncgenfunction(handler.unary_stream) else written

    def _stream(self, method: str, handler: Handler) -> Any:
        async def decoded(raw: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            message: Any = None

            async def messages() -> AsyncIterator[Any]:
                nonlocal message
                async for encoded in raw:
                    message = None
                    message = _decode(handler, encoded)
                    yield message

            try:
                async for response in handler.stream_stream(messages(), context):
                    yield _encode(response)
            except BadRequestError as error:
                batch_id = getattr(message, "batch_id", None)
                await self._refuse(method, context, error, **({} if batch_id is None else {"batch": batch_id}))

        return decoded


def _encode(response: Message) -> bytes:
    # Not the handler's serializer, which takes no message of chassis.large_fields.
    return response.SerializeToString()


def _decode(handler: Handler, raw: bytes) -> Any:
    try:
        return handler.request_deserializer(raw)
    except DecodeError:
        raise BadRequestError("(message)", f"{len(raw)} bytes", "a message of this method's request type") from None


class TracingInterceptor(MethodInterceptor):
    """Records a span of each request to one service that names a span of its client.

    A unary call names it in its metadata. Each request of a stream has a field for it, since a stream carries many
    batches, of which few are traced.
    """

    def __init__(self, service: str, tracing: "Tracing") -> None:
        super().__init__(service)
        self._service = service
        self._tracing = tracing

    def _start(self, method: str, traceparent: str) -> "Span | None":
        attributes = {"rpc.system": "grpc", "rpc.service": self._service, "rpc.method": method}
        return self._tracing.serve(traceparent, f"{self._service}/{method}", attributes)

    def _fail(self, span: "Span | None", error: BaseException, context: Context) -> None:
        if span is not None:
            self._tracing.fail(span, _reason(error, context))

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:
        """Wrap the behavior of a unary method."""

        async def traced(request: object, context: Context) -> object:
            metadata = dict(context.invocation_metadata() or ())
            if TRACEPARENT not in metadata:
                return await behavior(request, context)
            span = self._start(method, str(metadata[TRACEPARENT]))
            try:
                response = await behavior(request, context)
            except BaseException as error:
                self._fail(span, error, context)
                raise
            if span is not None:
                span.end()
            return response

        return traced

    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """Wrap the behavior of a streaming method."""

        async def traced(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[object]:
            # Responses come in the order of the requests, one at a time, so there is one span at a time.
            span: Span | None = None

            async def started() -> AsyncIterator[object]:
                nonlocal span
                async for request in requests:
                    if request.traceparent:
                        span = self._start(method, request.traceparent)
                    yield request

            try:
                async for response in behavior(started(), context):
                    if span is not None:
                        span.set_attribute(WAITED, waited_s.get())
                        span.end()
                        span = None
                    yield response
            except BaseException as error:
                self._fail(span, error, context)
                raise

        return traced


def _reason(error: BaseException, context: Context) -> str:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    if isinstance(error, BadRequestError):
        return f"INVALID_ARGUMENT: {error}"  # as Decoding ends the call
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return f"{code.name}: {context.details()}"
    return f"{type(error).__name__}: {error}"


class FaultInjection(MethodInterceptor):
    """Makes some requests to one service fail, hang or take longer, for tests and for teaching.

    It stands behind Decoding and TracingInterceptor: a request with a fault is decoded and traced like any other.
    """

    def __init__(self, service: str, *, error_rate: float, hang_rate: float, slow: float) -> None:
        """Take the parts of all requests, 0 to 1, that fail and hang, and the seconds that each waits."""
        super().__init__(service)
        self._error_rate = error_rate
        self._hang_rate = hang_rate
        self._slow = slow

    async def _inject(self, context: Context) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)
        chance = random.random()  # noqa: S311 - chance is no secret
        if chance < self._error_rate:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault that FAULT_ERROR_RATE asks for")
        if chance < self._error_rate + self._hang_rate:
            await asyncio.Event().wait()

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:  # noqa: ARG002 - all methods get the same faults
        """Wrap the behavior of a unary method."""

        async def faulty(request: object, context: Context) -> object:
            await self._inject(context)
            return await behavior(request, context)

        return faulty

    def stream(self, method: str, behavior: StreamBehavior) -> Any:  # noqa: ARG002 - all methods get the same faults
        """Wrap the behavior of a streaming method."""

        async def faulty(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            async def delivered() -> AsyncIterator[object]:
                async for request in requests:
                    await self._inject(context)
                    yield request

            async for response in behavior(delivered(), context):
                yield response

        return faulty
