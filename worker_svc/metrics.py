"""The metrics of worker."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chassis.redis.schema import ReplicaState
from chassis.telemetry.metrics import LatencyHistogram
from worker_svc.ledger import Ledger
from worker_svc.pipeline import Pipeline
from worker_svc.pool.pool import Pool
from worker_svc.tally import Tally

_SERVICE = ("service",)
_REPLICA = ("service", "replica")


class WorkerMetrics(Collector):
    """The metrics of a worker, beside those of every gRPC client.

    There are series for no more replicas than a worker lists in its reports, however many come and go.
    """

    def __init__(self, tally: Tally, pipeline: Pipeline, pools: Mapping[str, Pool], ledger: Ledger) -> None:
        """Read these, and the pools by service."""
        self._tally = tally
        self._pipeline = pipeline
        self._pools = pools
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self._batches()
        yield from self._replicas()
        yield from self._reports()

    def _batches(self) -> Iterator[Metric]:
        totals, pipeline = self._tally.totals, self._pipeline
        in_flight = len(pipeline.in_flight)
        yield Counter("dockercoins_worker_hashes", "Hashes counted", totals.hashes)
        yield Counter("dockercoins_worker_coins", "Coins found", totals.coins)
        yield Counter("dockercoins_worker_batches", "Batches counted", totals.batches)
        yield Gauge("dockercoins_worker_in_flight_batches", "Batches begun and not counted", in_flight)
        yield Gauge("dockercoins_worker_window_batches", "Batches in flight at most", pipeline.window)
        yield Gauge("dockercoins_worker_batch_size", "Hashes in the batches that begin now", pipeline.batch_size)
        meaning = "Seconds that a stage takes for a batch; in total, from a batch's beginning until it is counted"
        seconds = Histogram("dockercoins_worker_batch_seconds", meaning, labels=("stage",))
        for service, pool in self._pools.items():
            _add(seconds, (service,), pool.latency)
        _add(seconds, ("total",), self._tally.latency)
        yield seconds

    def _replicas(self) -> Iterator[Metric]:
        serving = Gauge("dockercoins_worker_replicas", "Replicas that take batches", labels=_SERVICE)
        meaning = "Endpoints by state, those gone for less than 10 s too"
        endpoints = Gauge("dockercoins_worker_endpoints", meaning, labels=("service", "state"))
        meaning = "1 for each endpoint, with its address and state"
        info = Gauge("dockercoins_worker_endpoint_info", meaning, labels=(*_REPLICA, "address", "state"))
        meaning = "Batches that a replica has not completed"
        outstanding = Gauge("dockercoins_worker_outstanding_batches", meaning, labels=_REPLICA)
        meaning = "Batches that a replica completed before any other did"
        completed = Counter("dockercoins_worker_completed_batches", meaning, labels=_REPLICA)
        meaning = "Batches that exceeded the hedging delay at a replica"
        overdue = Counter("dockercoins_worker_overdue_batches", meaning, labels=_REPLICA)
        meaning = "Batches sent again, because a stream broke or a digest was wrong"
        retries = Counter("dockercoins_worker_retries", meaning, labels=("service", "reason"))
        meaning = "Batches sent to a second replica, because they exceeded the hedging delay"
        hedges = Counter("dockercoins_worker_hedges", meaning, labels=_SERVICE)
        for service, pool in self._pools.items():
            replicas = pool.picker.replicas.listed
            serving.add_metric((service,), len(pool.replicas))
            for state in ReplicaState:
                endpoints.add_metric((service, state), sum(replica.state is state for replica in replicas))
            for replica in replicas:
                labels = (service, replica.name)
                info.add_metric((*labels, replica.address, replica.state), 1)
                outstanding.add_metric(labels, replica.outstanding)
                completed.add_metric(labels, replica.completed)
                overdue.add_metric(labels, replica.overdue)
            for reason, batches in pool.retries.items():
                retries.add_metric((service, reason), batches)
            hedges.add_metric((service,), pool.hedges)
        yield from (serving, endpoints, info, outstanding, completed, overdue, retries, hedges)

    def _reports(self) -> Iterator[Metric]:
        ledger = self._ledger
        yield Counter("dockercoins_worker_reports_sent", "Reports that Redis has counted", ledger.counted)
        yield Counter("dockercoins_worker_reports_resent", "Attempts to send a report again", ledger.resent)
        meaning = "Hashes in reports that Redis has not acknowledged"
        yield Gauge("dockercoins_worker_unreported_hashes", meaning, ledger.unreported_hashes)
        seconds = Histogram("dockercoins_worker_redis_seconds", "Seconds until Redis responds to a report")
        _add(seconds, (), ledger.latency)
        yield seconds


def _add(family: Histogram, labels: tuple[str, ...], latency: LatencyHistogram) -> None:
    family.add_metric(labels, list(latency.cumulative()), latency.seconds)
