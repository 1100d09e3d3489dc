"""Interceptors around the methods of a service: access log and metrics, decoding, traces, faults, limits.

The allow list is one, too; chassis.grpc_server.server has the order.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message

from chassis import large_fields, log
from chassis.grpc_options import CLIENT_ID, MAX_NAME, STREAM_ID, TRACEPARENT
from chassis.grpc_server.access_log import AccessLog, work
from chassis.grpc_server.bad_request import BadRequestError, abort
from chassis.grpc_server.limits import (
    MAX_CONCURRENT_REQUESTS,
    WRITE_LEASE_S,
    ConcurrencyLimiter,
    RateLimiter,
    Slot,
)
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.log import ThrottledLogger
from chassis.telemetry.rpc_metrics import MethodCounts, RpcMetrics

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Span, Tracing

Context = grpc.aio.ServicerContext[Any, Any]
# A grpc.RpcMethodHandler; types-grpcio has only those of synchronous servers.
Handler = Any
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
UnaryBehavior = Callable[[Any, Context], Awaitable[Any]]
StreamBehavior = Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]

# A worker's id is its instance's name, a hyphen and 8 digits.
MAX_PEER_LENGTH = MAX_NAME + 9
MAX_STREAM_ID_DIGITS = 18

# gRPC reports only after this delay whether the client half-closed or cancelled the stream; both end the request
# iterator. With one iteration of the event loop one in ten cancelled streams was taken for OK.
CANCELLATION_LAG_S = 0.005

# Codes of calls without a line of their own: their requests are logged, as served or as refused.
_NOT_LOGGED = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)

# An attribute of spans: the time for which a request waited for its slots. LimitInterceptor sets it; it runs inside
# TracingInterceptor, in the same task.
WAITED = "dockercoins.waited_seconds"
_waited_s: ContextVar[float] = ContextVar("waited_s", default=0.0)

# Stands for the batch of a unary call, which has no id.
UNARY = -1


class MethodInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Wraps the methods of one service; those of health, reflection and channelz stay as they are.

    A unary call is wrapped as a stream of one request and one response.
    """

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
            wrapped = self.wrap(method, _as_stream(handler.unary_unary))
            return grpc.unary_unary_rpc_method_handler(_as_unary(wrapped), *coders)
        wrapped = self.wrap(method, handler.stream_stream)
        return grpc.stream_stream_rpc_method_handler(wrapped, *coders)

    @abstractmethod
    def wrap(self, method: str, behavior: StreamBehavior) -> StreamBehavior:
        """Return the method's behavior, wrapped."""


def _as_stream(behavior: UnaryBehavior) -> StreamBehavior:
    """Return a unary behavior as one that responds to each request of a stream."""

    async def stream(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            yield await behavior(request, context)

    return stream


def _as_unary(behavior: StreamBehavior) -> Any:
    """Return a behavior that responds to each request of a stream as a unary one."""

    async def unary(request: Any, context: Context) -> Any:
        async def requests() -> AsyncIterator[Any]:
            yield request

        [response] = [response async for response in behavior(requests(), context)]
        return response

    return unary


class ThrottledLoggers:
    """Throttles log lines about calls: at most one per second for each event and key."""

    def __init__(self) -> None:
        self._loggers: dict[tuple[str, str], ThrottledLogger] = {}

    def log(self, level: Literal["info", "warning"], event: str, key: str = "", /, **fields: object) -> None:
        """Log an event, or count it for a later line."""
        self._logger(level, event, key).log(**fields)

    def hold_back(self, level: Literal["info", "warning"], event: str, key: str = "", /, **fields: object) -> None:
        """Count an event for the next line, since others of its kind may come with it."""
        self._logger(level, event, key).hold_back(**fields)

    def _logger(self, level: Literal["info", "warning"], event: str, key: str) -> ThrottledLogger:
        logger = self._loggers.get((event, key))
        if logger is None:
            logger = self._loggers[event, key] = ThrottledLogger(event, interval_s=1.0, level=level)
        return logger

    def flush(self) -> None:
        """Log what is held back, if the interval has passed."""
        for logger in self._loggers.values():
            logger.flush()

    def close(self) -> None:
        """Log what is held back."""
        for logger in self._loggers.values():
            logger.close()


def _caller(context: Context) -> dict[str, Any]:
    """Return log fields that name the client and, for workers, the stream."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    fields: dict[str, Any] = {"peer": metadata.get(CLIENT_ID, "")[:MAX_PEER_LENGTH] or context.peer()}
    stream = metadata.get(STREAM_ID, "")
    if stream.isdecimal() and len(stream) <= MAX_STREAM_ID_DIGITS:
        fields["stream"] = int(stream)
    return fields


class AccessLogInterceptor(MethodInterceptor):
    """Logs the requests of one service that are served, and the calls that fail; and counts calls and messages."""

    def __init__(self, service: str, metrics: RpcMetrics, access_log: AccessLog, loggers: ThrottledLoggers) -> None:
        super().__init__(service)
        self._access_log = access_log
        self._loggers = loggers
        self._counts: dict[str, MethodCounts] = {}
        self._streaming: set[str] = set()
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            if method.server_streaming:
                self._streaming.add(method.name)
            kind: Literal["bidi_stream", "unary"] = "bidi_stream" if method.server_streaming else "unary"
            self._counts[method.name] = metrics.method(kind, f"/{service}/{method.name}")

    def wrap(self, method: str, behavior: StreamBehavior) -> StreamBehavior:
        """Log the requests of a call, and count it from its start to its end."""
        counts, streaming = self._counts[method], method in self._streaming

        async def logged(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            caller = _caller(context)
            began = arrived = time.monotonic()
            code = grpc.StatusCode.OK
            counts.started += 1

            async def received() -> AsyncIterator[bytes]:
                nonlocal arrived
                async for request in requests:
                    arrived = time.monotonic()
                    counts.received += 1
                    yield request

            try:
                async for response in behavior(received(), context):
                    counts.sent += 1
                    self._access_log.add(caller["peer"], time.monotonic() - arrived)
                    yield response
                if streaming:
                    await asyncio.sleep(CANCELLATION_LAG_S)
            except BaseException as error:
                code = _code(error, context) or grpc.StatusCode.UNKNOWN
                raise
            finally:
                seconds = time.monotonic() - began
                counts.ended(code.name, seconds)
                if code not in _NOT_LOGGED:
                    details = {"details": context.details()} if context.details() else {}
                    fields = {**caller, "code": code.name, **details, "seconds": round(seconds, 4)}
                    self._loggers.hold_back("info", f"{method} ended early", code.name, **fields)

        return logged


def _code(error: BaseException, context: Context) -> grpc.StatusCode | None:
    """Return the code of a call that this error ends, if it has one."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else None


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call with INVALID_ARGUMENT when a message can't be decoded or the method raises BadRequestError.

    gRPC's own response to bytes that can't be decoded is UNKNOWN or INTERNAL, which blames the server. Interceptors
    outside of this one therefore see encoded messages, of any service. The details are logged as well, because the
    client may not log them.
    """

    def __init__(self, loggers: ThrottledLoggers) -> None:
        self._loggers = loggers

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return a handler of encoded messages, or None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method.rpartition("/")[2]
        if handler.unary_unary:
            behavior = _as_unary(self._decoded(method, handler, _as_stream(handler.unary_unary)))
            return grpc.unary_unary_rpc_method_handler(behavior)
        if handler.unary_stream:  # Health.Watch writes to the context instead of yielding
            watching = _as_unary(self._decoded(method, handler, _as_stream(handler.unary_stream)))
            return grpc.unary_stream_rpc_method_handler(watching, None, handler.response_serializer)
        return grpc.stream_stream_rpc_method_handler(self._decoded(method, handler, handler.stream_stream))

    def _decoded(self, method: str, handler: Handler, behavior: StreamBehavior) -> Any:
        async def decoded(raw: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            async def messages() -> AsyncIterator[Any]:
                async for encoded in raw:
                    yield _decode(handler, encoded)

            try:
                async for response in behavior(messages(), context):
                    yield _encode(response)
            except BadRequestError as error:
                batch = {} if error.batch_id is None else {"batch": error.batch_id}
                fields = {"method": method, **_caller(context), **batch, "details": str(error)}
                self._loggers.log("warning", "request refused", "", **fields)
                await abort(context, error)

        return decoded


def _encode(response: Message | None) -> bytes:
    # Not by the handler's serializer, which does not accept messages of chassis.large_fields. channelz sets a code and
    # returns None if there is no such object, and so does a method that writes to the context.
    return b"" if response is None else response.SerializeToString()


def _decode(handler: Handler, raw: bytes) -> Any:
    try:
        return large_fields.parse(handler.request_deserializer, raw)
    except DecodeError:
        raise BadRequestError("(message)", f"{len(raw)} bytes", "a message of this method's request type") from None


class TracingInterceptor(MethodInterceptor):
    """Records a span of each traced unary call to one service, and of each traced batch of its streams.

    A unary call names it in its metadata. Each batch of a stream has a field for it, since few of them are traced.
    """

    def __init__(self, service: str, tracing: "Tracing") -> None:
        super().__init__(service)
        self._service = service
        self._tracing = tracing

    def _start(self, method: str, request: Any, context: Context) -> "Iterator[tuple[int, Span]]":
        attributes = {"rpc.system": "grpc", "rpc.service": self._service, "rpc.method": method}
        for batch_id, traceparent in _traceparents(request, context):
            span = self._tracing.serve(traceparent, f"{self._service}/{method}", attributes) if traceparent else None
            if span is not None:
                yield batch_id, span

    def wrap(self, method: str, behavior: StreamBehavior) -> StreamBehavior:
        """Record spans from the arrival of a request to the response."""

        async def traced(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[object]:
            # By batch id.
            spans: dict[int, Span] = {}

            async def started() -> AsyncIterator[object]:
                async for request in requests:
                    spans.update(self._start(method, request, context))
                    yield request

            try:
                async for response in behavior(started(), context):
                    for batch_id in spans.keys() & _batch_ids(response) if spans else ():
                        spans[batch_id].attributes[WAITED] = _waited_s.get()
                        spans.pop(batch_id).end()
                    yield response
            except BaseException as error:
                for span in spans.values():
                    span.end(_reason(error, context))
                raise

        return traced


def _traceparents(request: Any, context: Context) -> Iterable[tuple[int, str]]:
    if hasattr(request, "batches"):
        return [(batch.batch_id, batch.traceparent) for batch in request.batches]
    return [(UNARY, str(dict(context.invocation_metadata() or ()).get(TRACEPARENT, "")))]


def _batch_ids(response: Any) -> set[int]:
    return {batch.batch_id for batch in response.batches} if hasattr(response, "batches") else {UNARY}


def _reason(error: BaseException, context: Context) -> str:
    if isinstance(error, BadRequestError):
        return f"INVALID_ARGUMENT: {error}"  # as DecodingInterceptor ends the call
    code = _code(error, context)
    if code is None:
        return f"{type(error).__name__}: {error}"
    return code.name if code is grpc.StatusCode.CANCELLED else f"{code.name}: {context.details()}"


class FaultInjectionInterceptor(MethodInterceptor):
    """Makes some requests to one service fail, hang or take longer, for tests and for teaching.

    It runs inside DecodingInterceptor and TracingInterceptor: a request with a fault is decoded and traced like any
    other.
    """

    def __init__(self, service: str, settings: GrpcServerSettings) -> None:
        super().__init__(service)
        self._error_rate = settings.fault_error_rate
        self._hang_rate = settings.fault_hang_rate
        self._slow = settings.fault_slow
        faults = {"error_rate": self._error_rate, "hang_rate": self._hang_rate, "slow": self._slow}
        log.get().warning("faults injected", **faults)

    def wrap(self, method: str, behavior: StreamBehavior) -> StreamBehavior:  # noqa: ARG002 - all get the same faults
        """Make requests fail, hang or wait before they reach the method."""

        async def faulty(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            async def delivered() -> AsyncIterator[object]:
                async for request in requests:
                    await self._inject(context)
                    yield request

            async for response in behavior(delivered(), context):
                yield response

        return faulty

    async def _inject(self, context: Context) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)
        chance = random.random()  # noqa: S311 - chance is no secret
        if chance < self._error_rate:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "fault injected by FAULT_ERROR_RATE")
        if chance < self._error_rate + self._hang_rate:
            await asyncio.Event().wait()


class LimitInterceptor(MethodInterceptor):
    """Limits the requests to one service: unary calls, and the messages of streams.

    With a delay, each batch of a message has a slot of its own.
    """

    def __init__(self, service: str, delay: float, concurrency: int) -> None:
        super().__init__(service)
        self._delay = delay
        self._slots = RateLimiter(delay, concurrency)
        # A request uses the event loop from when it is read until its response is written. With a delay it mostly
        # waits, and CONCURRENCY is the tighter limit.
        self._concurrency = ConcurrencyLimiter(0 if delay else MAX_CONCURRENT_REQUESTS, WRITE_LEASE_S)

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return self._slots.waiting + self._concurrency.waiting

    def wrap(self, method: str, behavior: StreamBehavior) -> StreamBehavior:  # noqa: ARG002 - all share the limits
        """Make each request wait for a slot, which is released after its response."""

        async def limited(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            peer = context.peer()
            slot = permit = Slot(peer, 0.0)

            async def admitted() -> AsyncIterator[object]:
                nonlocal slot, permit
                async for request in requests:
                    permit = await self._concurrency.acquire(peer)
                    slot = await self._slots.acquire(peer)
                    _waited_s.set(slot.acquired_at - permit.arrived_at)
                    yield request

            try:
                async for response in behavior(admitted(), context):
                    for number, part in enumerate(self._parts(response)):
                        if number:
                            slot = await self._slots.acquire(peer)
                        await self._slots.complete(slot)
                        self._slots.release(slot)
                        yield part
                    self._concurrency.release(permit)
            finally:
                self._slots.release(slot)
                self._concurrency.release(permit)

        return limited

    def _parts(self, response: Any) -> Iterable[object]:
        """Return a response of each batch, so that with a delay none waits for those behind it."""
        if not self._delay or len(getattr(response, "batches", ())) < 2:
            return (response,)
        return self._split(response)

    @staticmethod
    def _split(response: Any) -> Iterator[object]:
        for batch, its_work in zip(response.batches, work.get(), strict=True):
            work.set([its_work])
            yield type(response)(batches=[batch])
