"""The metrics of every process here, whatever its service."""

from collections.abc import Iterator

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.health import Health
from chassis.telemetry import Telemetry


class _Ready(Collector):
    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield GaugeMetricFamily(
            "dockercoins_ready", "1 while the process is ready for work, as /readyz has it", value=self._health.ready
        )


def register(telemetry: Telemetry) -> None:
    """Tell of CPU, memory and open files (on Linux), garbage collection, Python, and readiness."""
    ProcessCollector(registry=telemetry.metrics)
    PlatformCollector(registry=telemetry.metrics)
    GCCollector(registry=telemetry.metrics)
    telemetry.metrics.register(_Ready(telemetry.health))
