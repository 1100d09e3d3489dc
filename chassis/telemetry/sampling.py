"""Which traces are recorded, decided before anything of them is."""

from enum import StrEnum

from chassis.telemetry.traceparent import TraceParent

_LOW_BITS = (1 << 64) - 1
"""Of a trace's id, those that decide: random in every id, and the ones that OpenTelemetry's SDKs look at."""


class Sampler(StrEnum):
    """What OTEL_TRACES_SAMPLER can be, with the meaning that OpenTelemetry's specification gives it."""

    ALWAYS_ON = "always_on"
    ALWAYS_OFF = "always_off"
    TRACE_ID_RATIO = "traceidratio"
    PARENT_BASED_ALWAYS_ON = "parentbased_always_on"
    PARENT_BASED_ALWAYS_OFF = "parentbased_always_off"
    PARENT_BASED_TRACE_ID_RATIO = "parentbased_traceidratio"


class Sampling:
    """Decides by a trace's id alone, so that all processes that are told the same decide the same."""

    def __init__(self, sampler: Sampler, part: float) -> None:
        """`part` of all traces, 0 to 1, where the sampler asks for a part."""
        self._parent_decides = sampler.startswith("parentbased_")
        if sampler.endswith("always_on"):
            part = 1
        elif sampler.endswith("always_off"):
            part = 0
        self._bound = round(part * (_LOW_BITS + 1))

    def wants(self, trace_id: int) -> bool:
        """Whether a trace that begins here is recorded."""
        return trace_id & _LOW_BITS < self._bound

    def wants_more_of(self, parent: TraceParent) -> bool:
        """Whether a trace that began elsewhere is recorded here too."""
        return parent.sampled if self._parent_decides else self.wants(parent.trace_id)
