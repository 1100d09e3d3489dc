"""What changed, as the report script writes it."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace
from support.ledgers import report, send
from support.redis_server import RedisServer
from support.waiting import until

from chassis.redis.schema import AnnotationKind, Change
from chassis.settings import Pace
from worker_svc.tally import Entry

END_US = report(1).report.end_us


def entry(
    worker: str, sequence: int, changes: Sequence[Change] = (), *, leaving: bool = False, **fields: object
) -> Entry:
    """Return a report of a worker with what it noticed."""
    made = report(sequence, worker=f"{worker}-{0:08x}")
    return made._replace(report=replace(made.report, instance=worker, **fields), changes=changes, leaving=leaving)


async def apply(redis: RedisServer, *entries: Entry) -> None:
    for each in entries:
        await send(redis.url, each, worker_id=each.report.worker)


def written(redis: RedisServer) -> list[str]:
    """Return the annotations in the words of the page, without times."""
    return [
        " ".join(filter(None, (each[name] for name in ("kind", "service", "names", "count", "to", "value"))))
        for _, each in redis.client().xrange("annotations")
    ]


def noticed(kind: AnnotationKind, name: str, seconds: float = 0, service: str = "rng", **fields: object) -> Change:
    return Change(kind, service, name, END_US + round(seconds * 1e6), **fields)  # type: ignore[arg-type]


async def test_workers_that_start_together_are_one_annotation_and_so_are_those_that_leave(redis: RedisServer) -> None:
    workers = [f"worker-{number}" for number in range(1, 11)]
    await apply(redis, *(entry(each, 1) for each in workers))
    assert written(redis) == [f"joined worker {' '.join(workers)} 10"]
    await apply(redis, *(entry(each, 2, leaving=True) for each in workers[:2]))
    assert written(redis)[1:] == ["left worker worker-1 worker-2 2"]


async def test_a_worker_without_a_report_for_five_seconds_is_lost_once_and_joins_again(redis: RedisServer) -> None:
    await apply(redis, entry("killed", 1), entry("other", 1), entry("rare", 1, report_interval_us=60_000_000))
    for sequence in range(2, 9):
        await apply(redis, entry("other", sequence))
        assert len(written(redis)) == (1 if sequence < 6 else len(written(redis)))
        await asyncio.sleep(1)
    assert written(redis) == ["joined worker killed other rare 3", "lost worker killed 1"]
    await asyncio.sleep(3)
    await apply(redis, entry("other", 9), entry("killed", 2))
    assert "joined worker killed 1" in written(redis)


async def test_what_all_workers_notice_is_written_once_and_a_storm_is_one_annotation(redis: RedisServer) -> None:
    kinds = AnnotationKind
    for sequence, seconds in ((1, 0), (2, 3), (3, 6)):
        for worker in ("a", "b", "c"):
            hedged = [noticed(kinds.SLOW, "hasher-3", seconds, "hasher", count=2, to=f"hasher-{sequence}")]
            seen = [noticed(kinds.JOINED, "rng-2", seconds / 3), noticed(kinds.LOST, f"rng-{sequence}", seconds)]
            await apply(redis, entry(worker, sequence, [*hedged, *seen]))
    assert sorted(written(redis)) == [
        "joined rng rng-2 1",
        "joined worker a b c 3",
        "lost rng rng-1 rng-2 rng-3 3",
        "slow hasher hasher-3 18 hasher-1 hasher-2 hasher-3",
    ]


async def test_a_new_pace_is_written_and_changes_are_dated_by_the_clock_of_redis(redis: RedisServer) -> None:
    tuned = noticed(AnnotationKind.AUTOTUNED, "b", service="worker", value="16 x 4 1.004 (0.989 to 1.019) of 16 x 8")
    await apply(redis, entry("a", 1), entry("b", 1, [tuned], pace=Pace.FULL))
    assert written(redis)[1:] == [
        "pace worker b 1 full",
        "autotuned worker b 1 16 x 4 1.004 (0.989 to 1.019) of 16 x 8",
    ]
    entries = [fields for _, fields in redis.client().xrange("annotations")]
    [(_, _), (_, last)] = redis.client().xrange("reports")
    ahead_us = int(last["redis_us"]) - int(last["sent_us"])
    assert int(entries[-1]["at_us"]) == min(END_US + ahead_us, int(last["redis_us"]))


async def test_a_report_that_is_sent_again_writes_no_annotation_again(redis: RedisServer) -> None:
    retried = [noticed(AnnotationKind.RETRIED, "rng-1", count=3)]
    await apply(redis, entry("a", 1, retried), entry("a", 1, retried))
    assert written(redis) == ["joined worker a 1", "retried rng rng-1 3"]


async def test_the_time_in_which_redis_took_no_report_is_a_gap_in_which_no_worker_is_lost(redis: RedisServer) -> None:
    await apply(redis, entry("a", 1), entry("b", 1))
    client = redis.client()
    for key in ("workers", "live_workers"):
        for member, score in client.zrange(key, 0, -1, withscores=True):
            client.zadd(key, {member: score - 30})
    await apply(redis, entry("a", 2))
    assert written(redis)[1:] == ["gap redis 0"]
    [_, (_, gap)] = client.xrange("annotations")
    assert 29e6 < int(gap["until_us"]) - int(gap["at_us"]) < 32e6
    await until(lambda: client.zscore("live_workers", "a-00000000") is not None)
