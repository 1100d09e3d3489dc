from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from chassis.health import Health

if TYPE_CHECKING:  # it imports OpenTelemetry, which nobody needs who records no traces
    from chassis.telemetry.tracing import Tracing


@dataclass(frozen=True)
class Telemetry:
    """What a process tells of itself; its parts leave here what they have to say."""

    health: Health
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Collectors registered here are asked for each request to /metrics, in the event loop's thread."""
    traces: "Tracing | None" = None
    """None unless somebody collects them."""
