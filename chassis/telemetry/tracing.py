"""Spans of a sample of what a process does. Whoever imports this imports OpenTelemetry's SDK, some 10 MB.

Parents are named, never taken from where the code happens to run: one event loop works on hundreds of batches, and
OpenTelemetry's context variables would cost each of them something, traced or not.

Spans are recorded here, and handed to the SDK when they end. Its own tracer takes 0.64 ms for the five spans of a
batch, in processes that do something else between two of them; this takes 0.23 (measured).
"""

import random
import time
from collections.abc import Mapping
from typing import Literal, Self

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from chassis.telemetry.sampling import Sampling
from chassis.telemetry.traceparent import TraceParent

Attributes = Mapping[str, str | int | float]
Kind = Literal["internal", "client", "server"]

MOST_EVENTS = 128
"""Of a span, as the SDK has it: a batch may be asked for again and again while a service is away."""

_KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}

_SCOPE = InstrumentationScope("dockercoins")

_FLAGS = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
"""Of a trace that begins here."""

_UNSET = Status(StatusCode.UNSET)


class Span:
    """Something that takes time, and is recorded until it ends. As a context it ends when left, with the error that
    left it.
    """

    __slots__ = ("_attributes", "_begun", "_context", "_ended", "_events", "_kind", "_name", "_parent", "_tracing")

    def __init__(
        self, tracing: "Tracing", name: str, kind: Kind, attributes: Attributes, trace: SpanContext | int
    ) -> None:
        """It begins now, as a part of a span, or as the first of a trace with this id."""
        self._tracing = tracing
        self._name = name
        self._kind = kind
        self._attributes = dict(attributes)
        self._events: list[Event] = []
        self._ended = False
        if isinstance(trace, int):
            self._parent = None
            trace_id, flags = trace, _FLAGS
        else:
            self._parent = trace
            trace_id, flags = trace.trace_id, TraceFlags(trace.trace_flags | TraceFlags.SAMPLED)
        self._context = SpanContext(trace_id, random.getrandbits(64), is_remote=False, trace_flags=flags)
        self._begun = time.time_ns()

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "Span":
        """A part of it that begins now."""
        return Span(self._tracing, name, kind, attributes, self._context)

    def event(self, name: str, attributes: Attributes) -> None:
        """Something happened just now."""
        if not self._ended and len(self._events) < MOST_EVENTS:
            self._events.append(Event(name, dict(attributes), time.time_ns()))

    def set(self, attributes: Attributes) -> None:
        """Say more about it."""
        if not self._ended:
            self._attributes.update(attributes)

    def end(self, error: str = "") -> None:
        """It is over, unsuccessfully if there is an error. Only the first end counts."""
        if self._ended:
            return
        self._ended = True
        self._tracing.processor.on_end(
            ReadableSpan(
                self._name,
                self._context,
                self._parent,
                self._tracing.resource,
                self._attributes,
                self._events,
                kind=_KINDS[self._kind],
                status=Status(StatusCode.ERROR, error) if error else _UNSET,
                start_time=self._begun,
                end_time=time.time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )

    @property
    def traceparent(self) -> str:
        """What another process is told to make a child of it."""
        context = self._context
        return str(TraceParent(context.trace_id, context.span_id, context.trace_flags))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.end("" if error is None else f"{type(error).__name__}: {error}".removesuffix(": "))


class Tracing:
    """Begins spans, of the traces that the sampling wants."""

    def __init__(self, sampling: Sampling, resource: Resource, processor: SpanProcessor) -> None:
        self._sampling = sampling
        self.resource = resource
        """Who tells all this."""
        self.processor = processor
        """Whom spans are told when they end."""

    def root(self, name: str, kind: Kind, attributes: Attributes) -> Span | None:
        """A trace that begins here and now, if it is wanted."""
        trace_id = random.getrandbits(128)
        return Span(self, name, kind, attributes, trace_id) if self._sampling.wants(trace_id) else None

    def serve(self, traceparent: str, name: str, attributes: Attributes) -> Span | None:
        """What is done for another process's span, or for nobody's when the text names none, if it is wanted."""
        parent = TraceParent.parse(traceparent)
        if parent is None:
            return self.root(name, "server", attributes)
        if not self._sampling.wants_more_of(parent):
            return None
        remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
        return Span(self, name, "server", attributes, remote)
