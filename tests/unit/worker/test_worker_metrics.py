"""How many series a worker has, whoever comes and goes."""

import asyncio

from prometheus_client import CollectorRegistry
from support.fake_streams import stream_to

from chassis.health import Health
from chassis.stored import MAX_BACKENDS
from chassis.telemetry.telemetry import Telemetry
from worker_svc.pool.picker import GONE_LISTED_S
from worker_svc.service import Worker
from worker_svc.settings import WorkerSettings

BY_REPLICA = (
    "dockercoins_worker_endpoint_info",
    "dockercoins_worker_outstanding_batches",
    "dockercoins_worker_completed_batches_total",
    "dockercoins_worker_slow_batches_total",
)


def shown(registry: CollectorRegistry) -> list[set[str]]:
    """The replicas of each metric that has them."""
    found: dict[str, set[str]] = {name: set() for name in BY_REPLICA}
    for family in registry.collect():
        for sample in family.samples:
            if "replica" in sample.labels:
                found[sample.name].add(sample.labels["replica"])
    return list(found.values())


async def test_a_replica_has_series_for_ten_seconds_after_it_went_and_64_have_at_most() -> None:
    telemetry = Telemetry(Health("rng", "hasher"))
    pool = Worker(WorkerSettings(instance="w", redis_url="redis://127.0.0.1:1"), telemetry)._pools["rng"]
    for number in range(1_000):
        if number >= 500:
            await asyncio.sleep(1)
        stream = stream_to(f"rng-{number}")
        pool.joined(stream)
        pool.ended(stream, None)
        assert all(len(replicas) <= MAX_BACKENDS for replicas in shown(telemetry.metrics))
    listed = {f"rng-{number}" for number in range(1_000 - int(GONE_LISTED_S) - 1, 1_000)}
    assert shown(telemetry.metrics) == [listed] * len(BY_REPLICA)
