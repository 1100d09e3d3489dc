import asyncio

from support.fake_streams import stream_to

from chassis.health import Health
from chassis.redis.schema import GONE_LISTED_S
from chassis.telemetry import Telemetry
from worker_svc.settings import WorkerSettings
from worker_svc.worker import Worker


async def test_64_replicas_have_series_at_most_and_none_that_went_more_than_ten_seconds_ago() -> None:
    telemetry = Telemetry(Health("rng", "hasher"))
    settings = WorkerSettings(instance="w", redis_url="redis://127.0.0.1:1", max_endpoints=7)
    pool = Worker(settings, telemetry)._pools["rng"]
    assert pool._max_endpoints == 7

    def shown_after(replica: str) -> set[str]:
        """Return the replicas that metrics name once this one has come and gone."""
        stream = stream_to(replica)
        pool._join(stream)
        pool._end(stream, None)
        samples = (sample for family in telemetry.metrics.collect() for sample in family.samples)
        return {sample.labels["replica"] for sample in samples if "replica" in sample.labels}

    assert max(len(shown_after(f"rng-{number}")) for number in range(129)) == 64
    await asyncio.sleep(GONE_LISTED_S + 1)
    assert shown_after("rng") == {"rng"}
    pool.hedges, pool.picker.replicas.listed[0].overdue = 3, 2
    value = telemetry.metrics.get_sample_value
    assert value("dockercoins_worker_hedges_total", {"service": "rng"}) == 3
    assert value("dockercoins_worker_overdue_batches_total", {"service": "rng", "replica": "rng"}) == 2
