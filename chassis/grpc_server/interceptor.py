"""The interceptor around the methods of a service: what happens to a request before and after its servicer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import grpc
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from chassis import large_fields, log
from chassis.batch_limits import BadRequestError
from chassis.grpc_options import CLIENT_ID, MAX_NAME, STREAM_ID, TRACEPARENT
from chassis.grpc_server.access_log import AccessLog, Describe, work
from chassis.grpc_server.allow_list import AllowList, Callers
from chassis.grpc_server.limits import (
    MAX_CONCURRENT_REQUESTS,
    WRITE_LEASE_S,
    ConcurrencyLimiter,
    RateLimiter,
    Slot,
)
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.log import ThrottledLogger
from chassis.telemetry import Telemetry
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

# Codes of calls without a line of their own: what was served or refused is logged already.
_NOT_LOGGED = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)

# An attribute of spans: the time for which a request waited for its slot.
WAITED = "dockercoins.waited_seconds"

# Stands for the batch of a unary call, which has no id.
UNARY = -1


class ServiceInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of one service; those of health, reflection and channelz have only their messages decoded.

    It decodes messages itself, because gRPC's own response to bytes that can't be decoded is UNKNOWN or INTERNAL, which
    blames the server. A unary call is wrapped as a stream of one request and one response.
    """

    def __init__(
        self,
        service: str,
        settings: GrpcServerSettings,
        telemetry: Telemetry,
        describe: Describe,
        callers: Callers | None,
    ) -> None:
        """Describe requests in the access log with `describe`. With `callers`, others may not call the methods."""
        self.metrics = RpcMetrics("server")
        telemetry.metrics.register(self.metrics)
        self.settings = settings
        self.tracing = telemetry.tracing
        self.access_log = AccessLog(describe)
        self._loggers: dict[tuple[str, str], ThrottledLogger] = {}
        self._allow_list = None if callers is None else AllowList(callers, self.logger("caller refused"))
        if settings.delay:
            self.limiter: ConcurrencyLimiter = RateLimiter(settings.delay, settings.concurrency)
        else:
            # A request uses the event loop from when it is read until its response is written.
            limit = min(settings.concurrency or MAX_CONCURRENT_REQUESTS, MAX_CONCURRENT_REQUESTS)
            self.limiter = ConcurrencyLimiter(limit, WRITE_LEASE_S)
        self.counts: dict[str, MethodCounts] = {}
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            path = f"/{service}/{method.name}"
            self.counts[path] = self.metrics.method("bidi_stream" if method.server_streaming else "unary", path)
        self.faulty = settings.faulty
        if self.faulty:
            faults = {"error_rate": settings.fault_error_rate, "hang_rate": settings.fault_hang_rate}
            log.get().warning("faults injected", **faults, slow=settings.fault_slow)

    def flush(self) -> None:
        """Log what is held back. The server calls this once a second."""
        self.access_log.flush()
        for logger in self._loggers.values():
            logger.flush()

    def close(self) -> None:
        """Log what is held back at the end."""
        self.access_log.flush()
        for logger in self._loggers.values():
            logger.close()

    def logger(self, event: str, key: str = "", level: Literal["info", "warning"] = "warning") -> ThrottledLogger:
        """Return the logger of an event, which logs one line a second for each key."""
        return self._loggers.setdefault((event, key), ThrottledLogger(event, interval_s=1.0, level=level))

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return a handler of encoded messages, or None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        path = handler_call_details.method
        wrap = self._served if path in self.counts else self._decoded
        if handler.unary_unary:
            behavior = _as_unary(wrap(path, handler, _as_stream(handler.unary_unary)))
            return grpc.unary_unary_rpc_method_handler(behavior)
        if handler.unary_stream:  # Health.Watch writes to the context instead of yielding
            watching = _as_unary(wrap(path, handler, _as_stream(handler.unary_stream)))
            return grpc.unary_stream_rpc_method_handler(watching, None, handler.response_serializer)
        return grpc.stream_stream_rpc_method_handler(wrap(path, handler, handler.stream_stream))

    def _served(self, path: str, handler: Handler, behavior: StreamBehavior) -> StreamBehavior:
        """Return the life of a call of the service: requests go in, the servicer responds, responses go out."""

        async def served(encoded: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            call = _Call(self, path, handler, context)
            try:
                if self._allow_list is not None:
                    await self._allow_list.check(path.rpartition("/")[2], context)
                async for response in behavior(call.requests(encoded), context):
                    for part in self._parts(response):
                        yield await call.respond(part)
                if handler.stream_stream:
                    # A half-close and a cancellation end the request iterator alike. After a cancellation, gRPC cancels
                    # this task before another read returns, so this one returns only after a half-close. Without
                    # it, up to 5 % of the cancelled streams were taken for OK, and with it none of 46,000.
                    await context.read()
            except BadRequestError as error:
                call.fail(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                await self._refuse(path, error, context)
            except BaseException as error:
                call.fail(_code(error, context), f"{type(error).__name__}: {error}")
                raise
            finally:
                call.end()

        return served

    def _decoded(self, path: str, handler: Handler, behavior: StreamBehavior) -> StreamBehavior:
        """Return the behavior of another service's method, for encoded messages."""

        async def decoded(encoded: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            async def requests() -> AsyncIterator[Any]:
                async for message in encoded:
                    yield _decode(handler, message)

            try:
                async for response in behavior(requests(), context):
                    yield _encode(response)
            except BadRequestError as error:
                await self._refuse(path, error, context)

        return decoded

    async def _refuse(self, path: str, error: BadRequestError, context: Context) -> None:
        """End the call with INVALID_ARGUMENT, and keep the connection open for others.

        The details are those of https://google.aip.dev/193. They are logged as well, because the client may not do so.
        """
        batch = {} if error.batch_id is None else {"batch": error.batch_id}
        fields = {"method": path.rpartition("/")[2], **_caller(context), **batch, "details": str(error)}
        self.logger("request refused").log(**fields)
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=str(error))
        details = any_pb2.Any()
        details.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        refusal = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error), details=[details])
        status = rpc_status.to_status(refusal)
        await context.abort(status.code, status.details, status.trailing_metadata)

    def _parts(self, response: Any) -> Iterator[Any]:
        """Yield a response of each batch, each with a slot of its own, so that with a delay none waits for others."""
        if not self.settings.delay or len(getattr(response, "batches", ())) < 2:
            yield response
            return
        for batch, its_work in zip(response.batches, work.get(), strict=True):
            work.set([its_work])
            yield type(response)(batches=[batch])


class _Call:
    """One call of a method: a stream, or a unary call as a stream of one request and one response."""

    def __init__(self, interceptor: ServiceInterceptor, path: str, handler: Handler, context: Context) -> None:
        self._interceptor = interceptor
        self._handler = handler
        self._context = context
        self._method = path.rpartition("/")[2]
        self._span_name = path[1:]
        self._caller = _caller(context)
        self._peer = context.peer()
        self._began = self._arrived = time.monotonic()
        # The slot of the last request, or of its last batch; and how long the request waited for one, in seconds.
        self._slot = Slot(self._peer, 0.0)
        self._waited_s = 0.0
        # The spans of requests without a response, by batch id.
        self._spans: dict[int, Span] = {}
        self._code: grpc.StatusCode = grpc.StatusCode.OK
        self._counts = interceptor.counts[path]
        self._counts.started += 1

    async def requests(self, encoded: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Yield each request once it has a slot."""
        served = self._interceptor
        async for message in encoded:
            self._arrived = time.monotonic()
            self._counts.received += 1
            request = _decode(self._handler, message)
            if served.tracing is not None:
                self._begin_spans(request, served.tracing)
            if served.faulty:
                await self._inject_fault(served.settings)
            self._slot = await served.limiter.acquire(self._peer)
            self._waited_s = self._slot.acquired_at - self._slot.arrived_at
            yield request
            # The servicer wants another request, so the response is written.
            served.limiter.release(self._slot)

    async def respond(self, response: Any) -> bytes:
        """Return a response, encoded, after the delay. Each batch of a request has a slot of its own with a delay."""
        limiter = self._interceptor.limiter
        if self._slot.completed:
            self._slot = await limiter.acquire(self._peer)
        await limiter.complete(self._slot)
        for batch_id in self._spans.keys() & _batch_ids(response) if self._spans else ():
            self._spans[batch_id].attributes[WAITED] = self._waited_s
            self._spans.pop(batch_id).end()
        self._counts.sent += 1
        self._interceptor.access_log.add(self._caller["peer"], time.monotonic() - self._arrived)
        return _encode(response)

    def fail(self, code: grpc.StatusCode | None, reason: str) -> None:
        """End the spans: the call has failed for a reason, with this code if there is one."""
        self._code = code or grpc.StatusCode.UNKNOWN
        if code is grpc.StatusCode.CANCELLED:
            reason = code.name
        elif code is not None:
            reason = f"{code.name}: {self._context.details() or reason}"
        for span in self._spans.values():
            span.end(reason)

    def end(self) -> None:
        """Release what the call holds, count it, and log it if it has failed."""
        self._interceptor.limiter.release(self._slot)
        seconds = time.monotonic() - self._began
        self._counts.ended(self._code.name, seconds)
        if self._code not in _NOT_LOGGED:
            details = {"details": self._context.details()} if self._context.details() else {}
            fields = {**self._caller, "code": self._code.name, **details, "seconds": round(seconds, 4)}
            self._interceptor.logger(f"{self._method} ended early", self._code.name, "info").hold_back(**fields)

    def _begin_spans(self, request: Any, tracing: "Tracing") -> None:
        """Begin the span of a traced unary call, or of each traced batch of a stream.

        A unary call names its trace in its metadata. Each batch has a field for it, since few of them are traced.
        """
        if self._handler.stream_stream:
            traced = [(batch.batch_id, batch.traceparent) for batch in request.batches if batch.traceparent]
        else:
            metadata = dict(self._context.invocation_metadata() or ())
            traced = [(UNARY, str(metadata[TRACEPARENT]))] if TRACEPARENT in metadata else []
        for batch_id, traceparent in traced:
            service, method = self._span_name.split("/")
            attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
            self._spans[batch_id] = tracing.serve(traceparent, self._span_name, attributes)

    async def _inject_fault(self, settings: GrpcServerSettings) -> None:
        """Make a request fail, hang or take longer, for tests and for teaching."""
        if settings.fault_slow:
            await asyncio.sleep(settings.fault_slow)
        chance = random.random()  # noqa: S311 - chance is no secret
        if chance < settings.fault_error_rate:
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, "fault injected by FAULT_ERROR_RATE")
        if chance < settings.fault_error_rate + settings.fault_hang_rate:
            await asyncio.Event().wait()


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


def _decode(handler: Handler, encoded: bytes) -> Any:
    try:
        return large_fields.parse(handler.request_deserializer, encoded)
    except DecodeError:
        allowed = "a message of this method's request type"
        raise BadRequestError("(message)", f"{len(encoded)} bytes", allowed) from None


def _encode(response: Message | None) -> bytes:
    # Not by the handler's serializer, which does not accept messages of chassis.large_fields. channelz sets a code and
    # returns None if there is no such object, and so does a method that writes to the context.
    return b"" if response is None else response.SerializeToString()


def _caller(context: Context) -> dict[str, Any]:
    """Return log fields that name the client and, for workers, the stream."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    fields: dict[str, Any] = {"peer": metadata.get(CLIENT_ID, "")[:MAX_PEER_LENGTH] or context.peer()}
    stream = metadata.get(STREAM_ID, "")
    if stream.isdecimal() and len(stream) <= MAX_STREAM_ID_DIGITS:
        fields["stream"] = int(stream)
    return fields


def _batch_ids(response: Any) -> set[int]:
    return {batch.batch_id for batch in response.batches} if hasattr(response, "batches") else {UNARY}


def _code(error: BaseException, context: Context) -> grpc.StatusCode | None:
    """Return the code of a call that this error ends, if it has one."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else None
