from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.telemetry.latency_histogram import LatencyHistogram
from worker_svc.ledger import Ledger
from worker_svc.pipeline import Pipeline
from worker_svc.pool.pool import Pool
from worker_svc.tally import Tally

_BY_BACKEND = ("service", "backend")


class WorkerMetrics(Collector):
    """What a worker alone can tell; the rest are the metrics of all gRPC clients.

    There are series for no more backends than a worker lists in its reports, whoever comes and goes.
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
        yield from self._backends()
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

    def _backends(self) -> Iterator[Metric]:
        backends = GaugeMetricFamily(
            "dockercoins_worker_backends", "Servers that take batches of this worker", labels=("service",)
        )
        ejected = GaugeMetricFamily(
            "dockercoins_worker_ejected_backends",
            "Servers that answered this worker wrongly and get no more batches",
            labels=("service",),
        )
        owed = GaugeMetricFamily(
            "dockercoins_worker_owed_batches", "Batches that a server has not answered", labels=_BY_BACKEND
        )
        answered = CounterMetricFamily(
            "dockercoins_worker_answered_batches",
            "Batches that a server answered before anybody else did",
            labels=_BY_BACKEND,
        )
        late = CounterMetricFamily(
            "dockercoins_worker_late_batches",
            "Batches that a server had not answered when they were late, whoever did in the end",
            labels=_BY_BACKEND,
        )
        again = CounterMetricFamily(
            "dockercoins_worker_asked_again",
            "Batches asked once more, since their stream broke, since they were late or since a digest was wrong",
            labels=("service", "cause"),
        )
        for service, pool in self._pools.items():
            backends.add_metric((service,), len(pool.replicas))
            ejected.add_metric((service,), len(pool.ejected))
            for replica in pool.listed:
                labels = (service, replica.name)
                owed.add_metric(labels, replica.outstanding)
                answered.add_metric(labels, replica.completed)
                late.add_metric(labels, replica.slow)
            for cause, batches in pool.retries.items():
                again.add_metric((service, cause), batches)
            again.add_metric((service, "late"), pool.hedges)
        yield from (backends, ejected, owed, answered, late, again)

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
