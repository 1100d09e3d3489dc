"""What a process reports about itself: health, metrics that are read on request, and spans of a sample of its work."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, disable_created_metrics

from chassis.health import Health

if TYPE_CHECKING:  # It imports OpenTelemetry, which a process without a collector does not need.
    from chassis.telemetry.tracing import Tracing


# When each counter was made, which is when the process started.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Telemetry:
    """The places where the parts of a process leave what they report."""

    health: Health
    # Collectors are called for each request to /metrics, in the event loop's thread.
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    # None without a collector of traces.
    tracing: "Tracing | None" = None
