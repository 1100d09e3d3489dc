from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.grpc_server.pacing import Pacing
from rng_svc.service import RngService


class RngMetrics(Collector):
    """What rng alone can tell; the rest are the metrics of all gRPC servers."""

    def __init__(self, service: RngService, pacing: Pacing) -> None:
        self._service = service
        self._pacing = pacing

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield CounterMetricFamily("dockercoins_rng_bytes", "Random bytes handed out", self._service.bytes_served)
        yield GaugeMetricFamily(
            "dockercoins_rng_waiting_requests", "Requests that wait for their turn (CONCURRENCY)", self._pacing.waiting
        )
