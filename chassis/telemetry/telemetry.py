from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from chassis.health import Health


@dataclass(frozen=True)
class Telemetry:
    """What a process tells of itself; its parts leave here what they have to say."""

    health: Health
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    """Collectors registered here are asked for each request to /metrics, in the event loop's thread."""
