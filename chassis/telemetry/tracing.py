"""Spans of a sample of the work, recorded here and sent by OpenTelemetry's SDK to a collector over OTLP/HTTP.

This module imports the SDK, which takes 10 MB and as much CPU as a sixth of a start. A process imports it only when it
has a collector, so no other module imports OpenTelemetry.

The SDK's sampler, propagator, queue and exporter do their work, and its tracer does not: one of a hundred batches is
traced, the caches of the CPU have lost the tracer's code in between, and the five spans of a batch took 0.7 ms of CPU.
Spans are recorded as plain objects, and the exporter's thread encodes them in bulk: 0.2 ms in all.

A parent is always passed, never taken from a context variable: one event loop works on hundreds of batches.

Spans wait for that thread in a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE: 2,048 spans, some 4 MB), which loses the
oldest when it is full. So a collector that is away costs spans and nothing else.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import getrandbits
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as EncodedSpan
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags, Status
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import ServiceSettings, SettingsError

# How long a stopping process waits for the collector to take the last spans.
FLUSH_LIMIT_S = 0.5

# The fields of AnyValue by type.
_VALUES = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}

# The SDK itself logs four lines in ten seconds about a collector that is away.
LOG_INTERVAL_S = 60.0

Attributes = Mapping[str, str | int | float]
Kind = Literal["INTERNAL", "CLIENT", "SERVER"]

_RANDOM = RandomIdGenerator()
_PROPAGATOR = TraceContextTextMapPropagator()
_NO_PARENT = Context()
_RECORDED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


@dataclass(slots=True, eq=False)
class Span:
    """A recorded span. As a context manager it ends with the context, with the error of an exception."""

    # The SDK's queue takes what is sampled; the exporter decides on that.
    context: ClassVar[SpanContext] = _RECORDED

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

    def __init__(self, sampled: float, on_end: Callable[[Span], None]) -> None:
        """Sample a part of the traces that begin here, from 0 to 1; `on_end` gets the spans that have ended."""
        self._bound = TraceIdRatioBased.get_bound_for_rate(sampled)
        self._on_end = on_end

    def sample(self) -> int | None:
        """Return the id of a new trace, or None if it is not sampled."""
        lower_half = getrandbits(64)
        return None if lower_half >= self._bound else getrandbits(64) << 64 | lower_half

    def root(self, trace_id: int, name: str, kind: Kind, attributes: Attributes) -> Span:
        """Begin the first span of a trace."""
        return Span(name, kind, dict(attributes), self._on_end, trace_id=trace_id)

    def serve(self, traceparent: str, name: str, attributes: Attributes) -> Span:
        """Begin the span of a request whose client sent this traceparent, or a trace if that is not valid."""
        return Span(name, "SERVER", dict(attributes), self._on_end, traceparent)

    def child(self, parent: Span, name: str, attributes: Attributes) -> Span:
        """Begin the span of a request to another service."""
        return Span(name, "CLIENT", dict(attributes), self._on_end, parent, parent.trace_id)


class Exporter(OTLPSpanExporter):
    """Encodes recorded spans, as far as the sampler wants them. The SDK's own encoding takes four times as long."""

    def __init__(self, url: str, sampler: Sampler, resource: Resource) -> None:
        """Send to this URL. The sampler decides on traces of other processes."""
        super().__init__(url)
        self._sampler = sampler
        nothing = ReadableSpan(
            "", INVALID_SPAN_CONTEXT, resource=resource, instrumentation_scope=InstrumentationScope("dockercoins")
        )
        self._empty = encode_spans([nothing])
        del self._empty.resource_spans[0].scope_spans[0].spans[:]

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Send spans. A failure is logged by the SDK."""
        sampled = [each for each in map(self._encode, spans) if each is not None]
        request = ExportTraceServiceRequest()
        request.CopyFrom(self._empty)
        request.resource_spans[0].scope_spans[0].spans.extend(sampled)
        sent = not sampled or self._client.export(request.SerializeToString()).success
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def _encode(self, span: Span) -> EncodedSpan | None:
        trace_id, flags = span.trace_id, int(SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
        if isinstance(span.parent, Span):
            parent_id = span.parent.span_id
        else:
            context = _PROPAGATOR.extract({"traceparent": span.parent}, _NO_PARENT)
            parent = get_current_span(context).get_span_context()
            trace_id, parent_id = parent.trace_id or trace_id, parent.span_id
            flags |= SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK if parent_id else 0
            if self._sampler.should_sample(context, trace_id, span.name).decision is Decision.DROP:
                return None
        return EncodedSpan(
            trace_id=trace_id.to_bytes(16, "big"),
            span_id=span.span_id.to_bytes(8, "big"),
            parent_span_id=parent_id.to_bytes(8, "big") if parent_id else b"",
            flags=flags,
            name=span.name,
            kind=EncodedSpan.SpanKind.Value(f"SPAN_KIND_{span.kind}"),
            start_time_unix_nano=span.began_ns,
            end_time_unix_nano=span.ended_ns,
            attributes=_encode_attributes(span.attributes),
            events=[
                EncodedSpan.Event(name=name, attributes=_encode_attributes(attributes), time_unix_nano=at_ns)
                for name, attributes, at_ns in span.events
            ],
            status=Status(code=Status.STATUS_CODE_ERROR, message=span.error) if span.error else None,
        )


def _encode_attributes(attributes: Attributes) -> Any:
    # protobuf makes messages of dictionaries twice as fast as Python does.
    return [{"key": name, "value": {_VALUES[type(value)]: value}} for name, value in attributes.items()]


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
        sampled, sampler = _sampling(settings)
        exporter = Exporter(settings.collector_url, sampler, _resource(service, settings.instance))
        processor: Any = BatchSpanProcessor(exporter)
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_… is not allowed: {error}") from None
    flushing = asyncio.create_task(handler.keep_flushing())
    try:
        yield Tracing(sampled, processor.on_end)
    finally:
        flushing.cancel()
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


def _resource(service: str, instance: str) -> Resource:
    """Describe this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = {"service.name": service, "service.namespace": "dockercoins", "service.instance.id": instance}
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    # Bytes in the environment that are no UTF-8 would fail whenever spans are encoded.
    return Resource({_utf8(name): _utf8(value) for name, value in resource.attributes.items()})


def _utf8(value: Any) -> Any:
    return value.encode(errors="surrogateescape").decode(errors="replace") if isinstance(value, str) else value
