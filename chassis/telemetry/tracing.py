"""Spans of a sample of the work, recorded by OpenTelemetry's SDK and sent to a collector over OTLP/HTTP.

This module imports the SDK, which takes 10 MB and as much CPU as a sixth of a start. A process imports it only when it
has a collector, so no other module imports OpenTelemetry.

A parent is always passed, never taken from a context variable: one event loop works on hundreds of batches.

Spans wait for a thread of the SDK in a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE: 2,048 spans, some 4 MB), which loses the
oldest when it is full. So a collector that is away costs spans and nothing else.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import ServiceSettings, SettingsError

# How long a stopping process waits for the collector to take the last spans.
FLUSH_LIMIT_S = 0.5

# The SDK itself logs four lines in ten seconds about a collector that is away.
TROUBLE_INTERVAL_S = 60.0

Attributes = Mapping[str, str | int | float]

_TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()
_NO_PARENT = Context()


class Tracing:
    """Starts spans, of the traces that are sampled."""

    def __init__(self, sampler: Sampler, resource: Resource, processor: SpanProcessor) -> None:
        self._sampler = sampler
        self._ids = _TraceIds()
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("dockercoins")

    def root(self, name: str, kind: Literal["INTERNAL", "CLIENT", "SERVER"], attributes: Attributes) -> Span | None:
        """Start a trace with its first span, or return None if the trace is not sampled."""
        trace_id = self._ids.draw_next()
        if self._sampler.should_sample(_NO_PARENT, trace_id, name).decision is Decision.DROP:
            return None
        return self._tracer.start_span(name, _NO_PARENT, SpanKind[kind], attributes, record_exception=False)

    def serve(self, traceparent: str, name: str, attributes: Attributes) -> Span | None:
        """Start the span of a request whose client sent this traceparent, or a trace if it is not valid."""
        parent = _PROPAGATOR.extract({_TRACEPARENT: traceparent})
        if not get_current_span(parent).get_span_context().is_valid:
            return self.root(name, "SERVER", attributes)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        return span if span.is_recording() else None

    def child(self, parent: Span, name: str, attributes: Attributes) -> Span:
        """Start the span of a request to another service."""
        return self._tracer.start_span(name, set_span_in_context(parent), SpanKind.CLIENT, attributes)

    @staticmethod
    def traceparent(span: Span) -> str:
        """Return what a request carries, so that the server's span becomes a child of this one."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span))
        return carrier[_TRACEPARENT]

    @staticmethod
    def fail(span: Span, reason: str) -> None:
        """End a span with an error."""
        span.set_status(StatusCode.ERROR, reason)
        span.end()


class _TraceIds(RandomIdGenerator):
    """Draws a trace's id before its first span starts, for sampling: the SDK takes 5 us for a span that is dropped."""

    def draw_next(self) -> int:
        self._next = super().generate_trace_id()
        return self._next

    def generate_trace_id(self) -> int:
        return self._next


@contextlib.asynccontextmanager
async def open_tracing(
    service: str, settings: ServiceSettings, seconds_left: Callable[[], float]
) -> AsyncIterator[Tracing]:
    """Send spans to the collector in the settings, and the last ones at the end, within the seconds that are left then.

    Raises SettingsError for a value that is not allowed of a variable that only the SDK reads.
    """
    troubles = _TroubleHandler()
    sdk_log = logging.getLogger("opentelemetry")
    sdk_log.propagate = False
    sdk_log.addHandler(troubles)
    if settings.otel_sdk_disabled != "false":
        log.get().warning("OTEL_SDK_DISABLED is neither true nor false, so there are traces")
    try:
        processor = BatchSpanProcessor(OTLPSpanExporter(settings.collector_url))
        tracing = Tracing(_sampler(settings), _resource(service, settings.instance), processor)
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_… is not allowed: {error}") from None
    flushing = asyncio.create_task(troubles.keep_flushing())
    try:
        yield tracing
    finally:
        flushing.cancel()
        # The SDK has no limit for this that can be set. What it does not finish ends with the process.
        sending = threading.Thread(target=processor.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, max(0.0, min(FLUSH_LIMIT_S, seconds_left())))
        troubles.log.close()


class _TroubleHandler(logging.Handler):
    """Logs what the SDK reports, as one line now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.log = ThrottledLogger("trouble with traces", interval_s=TROUBLE_INTERVAL_S, to="collector")

    def emit(self, record: logging.LogRecord) -> None:
        self.log.log(cause=record.getMessage())

    async def keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(TROUBLE_INTERVAL_S)
            self.log.flush()


def _sampler(settings: ServiceSettings) -> Sampler:
    name = settings.otel_traces_sampler
    if name.endswith("ratio"):
        root: Sampler = TraceIdRatioBased(settings.otel_traces_sampler_arg)
    else:
        root = ALWAYS_ON if name.endswith("on") else ALWAYS_OFF
    return ParentBased(root) if name.startswith("parentbased") else root


def _resource(service: str, instance: str) -> Resource:
    """Describe this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = {"service.name": service, "service.namespace": "dockercoins", "service.instance.id": instance}
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    # Bytes in the environment that are no UTF-8 would fail whenever spans are encoded.
    return Resource({_utf8(name): _utf8(value) for name, value in resource.attributes.items()})


def _utf8(value: Any) -> Any:
    return value.encode(errors="surrogateescape").decode(errors="replace") if isinstance(value, str) else value
