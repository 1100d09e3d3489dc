"""What `make bench-scaling` sends to Redis is what workers send, and each of it is counted once."""

import asyncio
import json
from pathlib import Path

from support.redis_server import RedisServer

from bench.scaling.recorded_report import HASHES, record
from bench.scaling.reporters import Reporter, report_at_once, report_once_a_second, reporters
from bench.scaling.reports import bounds, lines, measure

WORKERS = 20
BACKENDS = 3


async def answered(workers: list[Reporter], times: int) -> None:
    """Wait until each has been answered so often."""
    async with asyncio.timeout(30):
        while any(len(each.latencies) + each.refused < times for each in workers):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_reports_of_many_workers_are_each_counted_once(redis: RedisServer) -> None:
    report = await record(redis.port, BACKENDS)
    client = redis.client()
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


async def test_a_recorded_report_says_what_a_worker_says(redis: RedisServer) -> None:
    await record(redis.port, BACKENDS)
    client = redis.client()
    [(_, entry)] = client.xrange("reports")
    assert int(entry["hashes"]) == HASHES
    key = client.hgetall(f"worker:{entry['worker']}")
    seen = json.loads(key["backends"])
    assert [len(seen[service]) for service in ("rng", "hasher")] == [BACKENDS, BACKENDS]


async def test_who_sends_what_was_taken_already_is_refused(redis: RedisServer) -> None:
    """So the bench can't count reports that Redis did not."""
    report = await record(redis.port, BACKENDS)
    async with reporters(redis.port, 1, report, "1") as [first]:
        await report_once_a_second([first], 2.0)
        await answered([first], 2)
    async with reporters(redis.port, 1, report, "1") as [again]:
        await report_once_a_second([again], 1.0)
        await answered([again], 1)
    assert (len(first.latencies), first.refused) == (2, 0)
    assert (len(again.latencies), again.refused) == (0, 1)


def test_all_ways_of_writing_are_measured(tmp_path: Path) -> None:
    loads = measure((10,), 1.0, tmp_path)
    assert {(load.way, load.backends) for load in loads} == {
        (way, backends) for way in ("always", "everysec", "no file") for backends in (3, 64)
    }
    assert all(load.latencies for load in loads)
    assert all(bound.held for bound in bounds(loads)[1:])
    assert len(list(lines(loads))) == 2 + len(loads) + 3
