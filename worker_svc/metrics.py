from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.redis.schema import EndpointState
from chassis.telemetry.metrics import LatencyHistogram
from worker_svc.ledger import Ledger
from worker_svc.pipeline import Pipeline
from worker_svc.pool.pool import Pool
from worker_svc.tally import Tally

_BY_REPLICA = ("service", "replica")
_BY_STATE = ("service", "state")
_INFO = ("service", "replica", "address", "state")


class WorkerMetrics(Collector):
    """What a worker alone can tell; the rest are the metrics of all gRPC clients.

    There are series for no more replicas than a worker lists in its reports, however many come and go.
    """

    def __init__(self, tally: Tally, pipeline: Pipeline, pools: Mapping[str, Pool], ledger: Ledger) -> None:
        """Of these, and the pools by service."""
        self._tally = tally
        self._pipeline = pipeline
        self._pools = pools
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield from self._work()
        yield from self._replicas()
        yield from self._reports()

    def _work(self) -> Iterator[Metric]:
        totals, pipeline = self._tally.totals, self._pipeline
        yield CounterMetricFamily("dockercoins_worker_hashes", "Hashes counted", totals.hashes)
        yield CounterMetricFamily("dockercoins_worker_coins", "Coins found", totals.coins)
        yield CounterMetricFamily("dockercoins_worker_batches", "Batches counted", totals.batches)
        yield GaugeMetricFamily(
            "dockercoins_worker_in_flight_batches", "Batches begun and not counted", len(pipeline.in_flight)
        )
        yield GaugeMetricFamily("dockercoins_worker_window_batches", "Batches in flight at most", pipeline.window)
        yield GaugeMetricFamily(
            "dockercoins_worker_batch_size", "Hashes in the batches that begin now", pipeline.batch_size
        )
        seconds = HistogramMetricFamily(
            "dockercoins_worker_batch_seconds",
            "Seconds from a batch's being submitted to a step to its answer; in total, from its beginning to its count",
            labels=("stage",),
        )
        for service, pool in self._pools.items():
            _add(seconds, (service,), pool.latency)
        _add(seconds, ("total",), self._tally.latency)
        yield seconds

    def _replicas(self) -> Iterator[Metric]:
        taking = GaugeMetricFamily("dockercoins_worker_replicas", "Replicas that take batches", labels=("service",))
        endpoints = GaugeMetricFamily(
            "dockercoins_worker_endpoints", "Endpoints by state, those gone for less than 10 s too", labels=_BY_STATE
        )
        info = GaugeMetricFamily(
            "dockercoins_worker_endpoint_info", "1 for each endpoint, with its address and state", labels=_INFO
        )
        outstanding = GaugeMetricFamily(
            "dockercoins_worker_outstanding_batches", "Batches that a replica has not completed", labels=_BY_REPLICA
        )
        completed = CounterMetricFamily(
            "dockercoins_worker_completed_batches",
            "Batches that a replica completed before any other did",
            labels=_BY_REPLICA,
        )
        slow = CounterMetricFamily(
            "dockercoins_worker_slow_batches",
            "Batches that exceeded the hedging delay at a replica",
            labels=_BY_REPLICA,
        )
        retries = CounterMetricFamily(
            "dockercoins_worker_retries",
            "Batches sent again, because a stream broke or a digest was wrong",
            labels=("service", "reason"),
        )
        hedges = CounterMetricFamily(
            "dockercoins_worker_hedges",
            "Batches sent to a second replica, because they exceeded the hedging delay",
            labels=("service",),
        )
        for service, pool in self._pools.items():
            replicas = pool.picker.listed
            taking.add_metric((service,), len(pool.replicas))
            for state in EndpointState:
                endpoints.add_metric((service, state), sum(replica.state is state for replica in replicas))
            for replica in replicas:
                labels = (service, replica.name)
                info.add_metric((*labels, replica.address, replica.state), 1)
                outstanding.add_metric(labels, replica.outstanding)
                completed.add_metric(labels, replica.completed)
                slow.add_metric(labels, replica.slow)
            for reason, batches in pool.retries.items():
                retries.add_metric((service, reason), batches)
            hedges.add_metric((service,), pool.hedges)
        yield from (taking, endpoints, info, outstanding, completed, slow, retries, hedges)

    def _reports(self) -> Iterator[Metric]:
        ledger = self._ledger
        yield CounterMetricFamily("dockercoins_worker_reports_sent", "Reports that Redis has taken", ledger.sent)
        yield CounterMetricFamily(
            "dockercoins_worker_reports_resent", "Attempts to send a report that was tried before", ledger.resent
        )
        yield GaugeMetricFamily(
            "dockercoins_worker_unreported_hashes",
            "Hashes in reports that Redis has not taken",
            ledger.unreported_hashes,
        )
        seconds = HistogramMetricFamily(
            "dockercoins_worker_redis_seconds", "Seconds that Redis took to answer a report"
        )
        _add(seconds, (), ledger.latency)
        yield seconds


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], latency: LatencyHistogram) -> None:
    family.add_metric(labels, list(latency.cumulative()), latency.seconds)
