"""Spans of a sample of what a process does. Whoever imports this imports OpenTelemetry's SDK, some 10 MB.

Parents are named, never taken from where the code happens to run: one event loop works on hundreds of batches, and
OpenTelemetry's context variables would cost each of them something, traced or not.
"""

import random
from collections.abc import Mapping
from typing import Literal, Self

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from chassis.telemetry.sampling import Sampling
from chassis.telemetry.traceparent import TraceParent

Attributes = Mapping[str, str | int | float]
Kind = Literal["internal", "client", "server"]

_KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}


class Span:
    """Something that takes time, and is recorded until it ends. As a context it ends when left, with the error that
    left it.
    """

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: SdkSpan) -> None:
        self._tracer = tracer
        self._span = span

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "Span":
        """A part of it that begins now."""
        context = set_span_in_context(self._span, Context())
        return Span(self._tracer, self._tracer.start_span(name, context, _KINDS[kind], attributes))

    def event(self, name: str, attributes: Attributes) -> None:
        """Something happened just now."""
        if self._span.is_recording():
            self._span.add_event(name, attributes)

    def set(self, attributes: Attributes) -> None:
        """Say more about it."""
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def end(self, error: str = "") -> None:
        """It is over, unsuccessfully if there is an error. Only the first end counts."""
        if self._span.is_recording():
            if error:
                self._span.set_status(Status(StatusCode.ERROR, error))
            self._span.end()

    @property
    def traceparent(self) -> str:
        """What another process is told to make a child of it."""
        context = self._span.get_span_context()
        return str(TraceParent(context.trace_id, context.span_id, context.trace_flags))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.end("" if error is None else f"{type(error).__name__}: {error}".removesuffix(": "))


class _DrawnIds(RandomIdGenerator):
    """Lets a trace have the id that was drawn for it."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        """The one drawn last."""
        return self.trace_id


class Tracing:
    """Begins spans, of the traces that the sampling wants."""

    def __init__(self, sampling: Sampling, resource: Resource, processor: SpanProcessor) -> None:
        self._sampling = sampling
        self._ids = _DrawnIds()
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("dockercoins")

    def root(self, name: str, kind: Kind, attributes: Attributes) -> Span | None:
        """A trace that begins here and now, if it is wanted."""
        # Drawn here and not by the SDK, which takes twenty times as long to find that a trace is not wanted.
        trace_id = random.getrandbits(128)
        if not self._sampling.wants(trace_id):
            return None
        self._ids.trace_id = trace_id
        return self._start(name, Context(), kind, attributes)

    def serve(self, traceparent: str, name: str, attributes: Attributes) -> Span | None:
        """What is done for another process's span, or for nobody's when the text names none, if it is wanted."""
        parent = TraceParent.parse(traceparent)
        if parent is None:
            return self.root(name, "server", attributes)
        if not self._sampling.wants_more_of(parent):
            return None
        remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
        return self._start(name, set_span_in_context(NonRecordingSpan(remote), Context()), "server", attributes)

    def _start(self, name: str, context: Context, kind: Kind, attributes: Attributes) -> Span | None:
        span = self._tracer.start_span(name, context, _KINDS[kind], attributes)
        # OTEL_SDK_DISABLED makes it one that is not.
        return Span(self._tracer, span) if span.is_recording() else None
