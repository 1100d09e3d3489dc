"""Which traces are recorded, decided before anything of them is."""

from chassis.settings import Sampler
from chassis.telemetry.traceparent import TraceParent

_LOW_BITS = (1 << 64) - 1
"""Of a trace's id, those that decide: random in every id, and the ones that OpenTelemetry's SDKs look at."""


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
