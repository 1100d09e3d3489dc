"""Spans of a sample of the work, made by OpenTelemetry's SDK and sent to a collector over OTLP/HTTP.

This module imports the SDK, which takes 10 MB and as much CPU as a sixth of a start. A process imports it only when it
has a collector, so no other module imports OpenTelemetry.

A span is recorded first, and becomes one of the SDK's later, together with others. One of a hundred batches is traced,
and the caches of the CPU have lost the SDK's code in between: made at once, the five spans of a batch took 0.7 ms of
CPU. The SDK's tracer is left out: it copies and checks what is right here, and took 40 us of a span (measured).

A parent is always passed, never taken from a context variable: one event loop works on hundreds of batches.

Spans wait for a thread of the SDK in a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE: 2,048 spans, some 4 MB), which loses the
oldest when it is full. So a collector that is away costs spans and nothing else.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import ServiceSettings, SettingsError

# How long a stopping process waits for the collector to take the last spans.
FLUSH_LIMIT_S = 0.5

# The SDK itself logs four lines in ten seconds about a collector that is away.
LOG_INTERVAL_S = 60.0

# Recorded spans are made when there are this many, which takes some 2 ms, or after an interval.
SPANS_MADE_AT_ONCE = 64
MAKING_INTERVAL_S = 1.0

Attributes = Mapping[str, str | int | float]
Kind = Literal["INTERNAL", "CLIENT", "SERVER"]

_RANDOM = RandomIdGenerator()
_PROPAGATOR = TraceContextTextMapPropagator()
_NO_PARENT = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)


@dataclass(slots=True, eq=False)
class Span:
    """A recorded span. As a context manager it ends with the context, with the error of an exception."""

    name: str
    kind: Kind
    attributes: dict[str, str | int | float]
    on_end: Callable[["Span"], None]
    # A span of this process, or the traceparent of another one's, which may be empty or invalid.
    parent: "Span | str" = ""
    # The trace is the parent's if that is valid.
    trace_id: int = field(default_factory=_RANDOM.generate_trace_id)
    span_id: int = field(default_factory=_RANDOM.generate_span_id)
    # Nanoseconds since the epoch.
    began_ns: int = field(default_factory=time.time_ns)
    ended_ns: int = 0
    # Name, attributes and nanoseconds since the epoch of each.
    events: list[tuple[str, Attributes, int]] = field(default_factory=list)
    error: str = ""

    @property
    def traceparent(self) -> str:
        """What a request carries, so that the server's span becomes a child of this one (W3C Trace Context)."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    def add_event(self, name: str, attributes: Attributes) -> None:
        """Record an event of this moment."""
        self.events.append((name, attributes, time.time_ns()))

    def end(self, error: str = "") -> None:
        """End the span, unless it has ended. What it stands for failed if there is an error."""
        if not self.ended_ns:
            self.ended_ns = time.time_ns()
            self.error = error
            self.on_end(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end("" if kind is None else f"{kind.__name__}: {error}")


class Tracing:
    """Records spans, of the traces that are sampled."""

    def __init__(self, sampled: float, sampler: Sampler, resource: Resource, processor: SpanProcessor) -> None:
        """Sample a part of the traces that begin here, from 0 to 1. The sampler decides on those of other processes."""
        self._bound = TraceIdRatioBased.get_bound_for_rate(sampled)
        self._sampler = sampler
        self._resource = resource
        self._processor = processor
        self._ended: list[Span] = []

    def root(self, name: str, kind: Kind, attributes: Attributes) -> Span | None:
        """Begin a trace with its first span, or return None if the trace is not sampled."""
        trace_id = _RANDOM.generate_trace_id()
        if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
            return None
        return Span(name, kind, dict(attributes), self._end, trace_id=trace_id)

    def serve(self, traceparent: str, name: str, attributes: Attributes) -> Span:
        """Begin the span of a request whose client sent this traceparent, or a trace if that is not valid."""
        return Span(name, "SERVER", dict(attributes), self._end, traceparent)

    def child(self, parent: Span, name: str, attributes: Attributes) -> Span:
        """Begin the span of a request to another service."""
        return Span(name, "CLIENT", dict(attributes), self._end, parent, parent.trace_id)

    def _end(self, span: Span) -> None:
        self._ended.append(span)
        if len(self._ended) >= SPANS_MADE_AT_ONCE:
            self.make()

    def make(self) -> None:
        """Queue the spans that have ended for the collector, as far as the sampler wants them."""
        ended, self._ended = self._ended, []
        for span in ended:
            trace_id = span.trace_id
            if isinstance(span.parent, Span):
                parent = SpanContext(trace_id, span.parent.span_id, is_remote=False, trace_flags=_SAMPLED)
            else:
                context = _PROPAGATOR.extract({"traceparent": span.parent}, _NO_PARENT)
                parent = get_current_span(context).get_span_context()
                trace_id = parent.trace_id or trace_id
                if self._sampler.should_sample(context, trace_id, span.name).decision is Decision.DROP:
                    continue
            self._processor.on_end(
                ReadableSpan(
                    span.name,
                    SpanContext(trace_id, span.span_id, is_remote=False, trace_flags=_SAMPLED),
                    parent if parent.is_valid else None,
                    self._resource,
                    span.attributes,
                    [Event(*event) for event in span.events],
                    kind=SpanKind[span.kind],
                    status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
                    start_time=span.began_ns,
                    end_time=span.ended_ns,
                )
            )

    async def make_periodically(self) -> None:
        """Queue the spans that have ended at each interval, until cancelled."""
        while True:
            await asyncio.sleep(MAKING_INTERVAL_S)
            self.make()


@contextlib.asynccontextmanager
async def open_tracing(
    service: str, settings: ServiceSettings, seconds_left: Callable[[], float]
) -> AsyncIterator[Tracing]:
    """Send spans to the collector in the settings, and the last ones at the end, within the seconds that are left then.

    Raises SettingsError for a value that is not allowed of a variable that only the SDK reads.
    """
    handler = _SdkLogHandler()
    sdk_log = logging.getLogger("opentelemetry")
    sdk_log.propagate = False
    sdk_log.addHandler(handler)
    if settings.otel_sdk_disabled != "false":
        log.get().warning("OTEL_SDK_DISABLED is neither true nor false, so there are traces")
    try:
        processor = BatchSpanProcessor(OTLPSpanExporter(settings.collector_url))
        tracing = Tracing(*_sampling(settings), _resource(service, settings.instance), processor)
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_… is not allowed: {error}") from None
    tasks = [asyncio.create_task(handler.keep_flushing()), asyncio.create_task(tracing.make_periodically())]
    try:
        yield tracing
    finally:
        for task in tasks:
            task.cancel()
        tracing.make()
        # The SDK has no limit for this that can be set. What it does not finish ends with the process.
        sending = threading.Thread(target=processor.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, max(0.0, min(FLUSH_LIMIT_S, seconds_left())))
        handler.log.close()


class _SdkLogHandler(logging.Handler):
    """Logs what the SDK reports, as one line now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.log = ThrottledLogger("error while sending traces", interval_s=LOG_INTERVAL_S, to="collector")

    def emit(self, record: logging.LogRecord) -> None:
        self.log.log(cause=record.getMessage())

    async def keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(LOG_INTERVAL_S)
            self.log.flush()


def _sampling(settings: ServiceSettings) -> tuple[float, Sampler]:
    """Return the part of traces that are sampled here, and the sampler."""
    name = settings.otel_traces_sampler
    part = settings.otel_traces_sampler_arg if name.endswith("ratio") else float(name.endswith("on"))
    root = TraceIdRatioBased(part)
    return part, ParentBased(root) if name.startswith("parentbased") else root


class _Resource(Resource):
    """A resource that is equal to itself only: the exporter groups spans by it, and the SDK's hash is its JSON."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def _resource(service: str, instance: str) -> Resource:
    """Describe this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = {"service.name": service, "service.namespace": "dockercoins", "service.instance.id": instance}
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    # Bytes in the environment that are no UTF-8 would fail whenever spans are encoded.
    return _Resource({_utf8(name): _utf8(value) for name, value in resource.attributes.items()})


def _utf8(value: Any) -> Any:
    return value.encode(errors="surrogateescape").decode(errors="replace") if isinstance(value, str) else value
