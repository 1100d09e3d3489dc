"""How many series a worker has, whoever comes and goes."""

import asyncio

import pytest
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


class Mine:
    """A worker whose streams are opened and ended by the test."""

    def __init__(self) -> None:
        telemetry = Telemetry(Health("rng", "hasher"))
        self._registry: CollectorRegistry = telemetry.metrics
        self._pool = Worker(WorkerSettings(instance="w", redis_url="redis://127.0.0.1:1"), telemetry)._pools["rng"]

    def visit(self, backend: str) -> None:
        """A backend comes and goes."""
        stream = stream_to(backend)
        self._pool.joined(stream)
        self._pool.ended(stream, None)

    def shown(self) -> dict[str, set[str]]:
        """The backends of each metric that has them."""
        found: dict[str, set[str]] = {name: set() for name in BY_REPLICA}
        for family in self._registry.collect():
            for sample in family.samples:
                if "replica" in sample.labels:
                    found[sample.name].add(sample.labels["replica"])
        return found

    def series(self) -> int:
        return sum(len(family.samples) for family in self._registry.collect())


@pytest.fixture
async def mine() -> Mine:
    return Mine()


async def test_there_are_series_for_64_backends_at_most(mine: Mine) -> None:
    """Though more are there at once, or have been a moment ago."""
    without = mine.series()
    for number in range(500):
        mine.visit(f"rng-{number}")
    assert [len(backends) for backends in mine.shown().values()] == [MAX_BACKENDS] * 4
    assert mine.series() == without + 4 * MAX_BACKENDS


async def test_a_backend_has_series_for_ten_seconds_after_it_went(mine: Mine) -> None:
    for number in range(500):
        await asyncio.sleep(1)
        mine.visit(f"rng-{number}")
    listed = {f"rng-{number}" for number in range(500 - int(GONE_LISTED_S) - 1, 500)}
    assert list(mine.shown().values()) == [listed] * 4
