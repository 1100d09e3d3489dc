"""What `make bench-scaling` sends to Redis is what workers send, and each of it is counted once."""

import asyncio
import json

from support.redis_server import RedisServer

from bench.scaling.recorded_report import HASHES, record
from bench.scaling.reporters import Reporter, report_at_once, report_once_a_second, reporters

WORKERS = 20
REPLICAS = 3


async def answered(workers: list[Reporter], times: int) -> None:
    """Wait until each has been answered so often."""
    async with asyncio.timeout(30):
        while any(len(each.latencies) + each.refused < times for each in workers):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_reports_of_many_workers_are_each_counted_once(redis: RedisServer) -> None:
    report = await record(redis.port, REPLICAS)
    client = redis.client()
    [(_, entry)] = client.xrange("reports")
    seen = json.loads(client.hget(f"worker:{entry['worker']}", "backends"))
    assert [len(seen[service]) for service in ("rng", "hasher")] == [REPLICAS, REPLICAS]
    client.flushall()
    async with reporters(redis.port, WORKERS, report, "1") as workers:
        await report_once_a_second(workers, 1.0)
        await report_at_once(workers, 0.3)
        await answered(workers, 2)
        async with reporters(redis.port, 1, report, "last") as [last]:
            await report_once_a_second([last], 1.0)  # behind all others
            await answered([last], 1)
    taken = sum(len(each.latencies) for each in (*workers, last))
    assert not any(each.refused for each in (*workers, last))
    assert taken >= WORKERS * 2
    assert taken * HASHES <= int(client.get("hashes")) <= (taken + WORKERS) * HASHES
    assert len(client.keys("worker:*")) == WORKERS + 1
    async with reporters(redis.port, 1, report, "1") as [again]:
        await report_once_a_second([again], 1.0)
        await answered([again], 1)
    assert (len(again.latencies), again.refused) == (0, 1), "what was taken already is refused"
