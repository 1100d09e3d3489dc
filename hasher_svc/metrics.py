from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.grpc_server.pacing import Pacing
from hasher_svc.service import HasherService


class HasherMetrics(Collector):
    """What hasher alone can tell; the rest are the metrics of all gRPC servers."""

    def __init__(self, service: HasherService, pacing: Pacing) -> None:
        self._service = service
        self._pacing = pacing

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield CounterMetricFamily("dockercoins_hasher_hashes", "Messages hashed", self._service.hashes)
        yield GaugeMetricFamily(
            "dockercoins_hasher_waiting_requests",
            "Requests that wait for their turn (CONCURRENCY)",
            self._pacing.waiting,
        )
