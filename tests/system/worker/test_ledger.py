"""The ledger against a real server."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.redis_server import RedisServer

from chassis.backend_state import BackendState
from worker_svc.backend_view import Sighting
from worker_svc.ledger import MAX_UNACKNOWLEDGED, Ledger
from worker_svc.report import Report
from worker_svc.settings import WorkerSettings

SECOND_US = 1_000_000
NOW_US = 1_700_000_005 * SECOND_US
KEYS = ["hashes", "coins", "wallet", "reports", "totals", "worker:w-1", "totals:w-1", "workers", "pending_report"]

# Hashes in a bucket: a report takes a moment to reach Redis, which the script takes for a difference of clocks.
NEARLY = 0.5


def report(sequence: int, hashes: int = 10, coins: int = 0, begin_us: int = NOW_US, **changes: Any) -> Report:
    view = {"seconds": 1.0, "backends": {"rng": (), "hasher": ()}, "latest": (), "stalled_since_us": 0, "waits_for": ""}
    values = {"batch_size": 1, "wallet": (), "end_us": begin_us + SECOND_US, **view, **changes}
    values.setdefault("end", values["end_us"] / 1e6 - time.time() + time.monotonic())
    return Report(sequence=sequence, hashes=hashes, coins=coins, begin_us=begin_us, **values)


@asynccontextmanager
async def ledger(redis: RedisServer, worker_id: str = "w-1", **settings: Any) -> AsyncIterator[Ledger]:
    made = Ledger(WorkerSettings(redis_url=redis.url, instance="w", **settings), worker_id)
    sending = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await made.close()


async def test_a_report_is_counted_everywhere(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        made.add(report(1, hashes=5, coins=2, wallet=(("ab", b"\x00x"), ("cd", b"y"))))
        assert await made.settle(2)
    client = redis.client()
    assert (client.get("hashes"), client.get("coins"), client.hget("wallet", "cd")) == ("5", "2", "y")
    [(_, entry)] = client.xrange("reports")
    assert entry == {
        "worker": "w-1", "instance": "w", "sequence": "1", "hashes": "5", "coins": "2", "begin_us": str(NOW_US),
        "end_us": str(NOW_US + SECOND_US), "batch_size": "1", "pace": "classic",
        "report_interval_us": "1000000", "stalled_since_us": "0", "waits_for": "",
        "sent_us": entry["sent_us"], "redis_us": entry["redis_us"],
    }  # fmt: skip
    assert int(entry["sent_us"]) - 1_000 <= int(entry["redis_us"]) <= time.time_ns() // 1_000
    assert client.hget("worker:w-1", "sequence") == "1"
    assert not client.exists("pending_report")


async def test_the_workers_key_says_what_it_saw_of_its_backends(redis: RedisServer) -> None:
    seen = {
        "rng": (
            Sighting("rng-1", BackendState.SERVING, 12, {40: 11, 47: 1}),
            Sighting("rng-2", BackendState.GONE, 0, {}),
        ),
        "hasher": (Sighting("hasher-1", BackendState.LATE, 3, {100: 3}),),
    }
    async with ledger(redis) as made:
        made.add(report(1, seconds=1.003, backends=seen))
        assert await made.settle(2)
    assert json.loads(redis.client().hget("worker:w-1", "backends")) == {
        "seconds": 1.003,
        "rng": [
            {"name": "rng-1", "state": "serving", "batches": 12, "latency": {"40": 11, "47": 1}},
            {"name": "rng-2", "state": "gone", "batches": 0, "latency": {}},
        ],
        "hasher": [{"name": "hasher-1", "state": "late", "batches": 3, "latency": {"100": 3}}],
    }


async def test_the_workers_key_has_the_latest_coins(redis: RedisServer) -> None:
    async with ledger(redis, difficulty_bits=8, wallet_limit=0) as made:
        made.add(report(1, coins=2, latest=(("00ab", 1_700_000_000.125), ("00cd", 1_700_000_000.5))))
        assert await made.settle(2)
    assert json.loads(redis.client().hget("worker:w-1", "coins")) == {
        "bits": 8,
        "latest": [["00ab", 1_700_000_000.125], ["00cd", 1_700_000_000.5]],
    }


async def test_the_workers_key_says_what_its_newest_report_does(redis: RedisServer) -> None:
    """Whatever is sent again, and also when Redis was restored from an older state."""
    client = redis.client()

    def said() -> float:
        seconds: float = json.loads(client.hget("worker:w-1", "backends"))["seconds"]
        return seconds

    async with ledger(redis) as made:
        for sequence in (1, 2, 3):
            made.add(report(sequence, seconds=float(sequence)))
        await made.settle(2)
        made._acknowledged = 0
        made._settled.clear()
        made._news.set()
        await made.settle(2)
        assert said() == 3
        client.hset("worker:w-1", mapping={"sequence": 1, "backends": json.dumps({"seconds": 1})})
        made.add(report(4, seconds=4.0))
        await made.settle(2)
        assert said() == 4


async def test_a_report_sent_twice_is_counted_once(redis: RedisServer) -> None:
    """As when its answer was lost."""
    async with ledger(redis) as made:
        made.add(report(1))
        await made.settle(2)
        made._acknowledged = 0
        made.add(report(2))
        await made.settle(2)
    assert redis.client().get("hashes") == "20"
    assert redis.client().xlen("reports") == 2


async def test_a_report_is_sent_once_however_often_it_is_tried(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        made.add(report(1))
        await made.settle(2)
        assert (made.sent, made.resent) == (1, 0)
        redis.stop()
        made.add(report(2))
        made.add(report(3))
        assert not await made.settle(0.3)
        assert made.sent == 1
        tried_again = made.resent
        assert tried_again > 0
        redis.start()
        assert await made.settle(4)
        assert made.sent == 3
        assert made.resent > tried_again
        assert sum(made.latency.counts) >= 3


async def test_what_a_restored_redis_gets_again_is_no_report_more(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        for sequence in (1, 2, 3):
            made.add(report(sequence))
        await made.settle(2)
        redis.client().flushall()
        made.add(report(4))
        assert await made.settle(2)
        # 1 to 3 once more, and 4, which was refused while they were missing.
        assert (made.sent, made.resent) == (4, 4)


async def test_workers_count_side_by_side(redis: RedisServer) -> None:
    async with ledger(redis, "w-1") as one, ledger(redis, "w-2") as two:
        one.add(report(1))
        two.add(report(1))
        await one.settle(2)
        await two.settle(2)
    assert redis.client().get("hashes") == "20"


async def test_a_redis_that_is_gone_for_a_while_gets_everything_once(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        made.add(report(1))
        await made.settle(2)
        redis.stop()
        for sequence in range(2, 12):
            made.add(report(sequence))
        assert not await made.settle(0.3)
        assert made.unreported_hashes == 100
        redis.start()
        assert await made.settle(4)
    assert redis.client().get("hashes") == "110"
    assert [entry["sequence"] for _, entry in redis.client().xrange("reports")] == [str(i) for i in range(1, 12)]


async def test_a_redis_that_froze_counts_a_report_once_though_it_was_sent_again(
    redis: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ledger(redis) as made:
        made.add(report(1))
        await made.settle(2)
        redis.send(signal.SIGSTOP)
        made.add(report(2))
        assert not await made.settle(2.5)
        redis.send(signal.SIGCONT)
        assert await made.settle(4)
    assert redis.client().get("hashes") == "20"
    assert "cause='no answer to report 2 within 2 s'" in capfd.readouterr().out


async def test_a_redis_restored_from_an_older_state_gets_again_what_it_lost(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        for sequence in (1, 2, 3):
            made.add(report(sequence))
        await made.settle(2)
        client = redis.client()
        client.set("hashes", 10)
        client.hset("worker:w-1", "sequence", 1)
        made.add(report(4))
        assert await made.settle(2)
        assert made.unreported_hashes == 0
    assert redis.client().get("hashes") == "40"


async def test_an_emptied_redis_gets_what_was_reported_of_late(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        for sequence in (1, 2, 3):
            made.add(report(sequence))
        await made.settle(2)
        redis.client().flushall()
        made.add(report(4))
        assert await made.settle(2)
    assert redis.client().get("hashes") == "40"


async def test_what_is_no_longer_kept_is_not_waited_for(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis lost more than the last ten seconds: the worker goes on from where it is."""
    monkeypatch.setattr("worker_svc.ledger.KEPT_SECONDS", 0.0)
    async with ledger(redis) as made:
        for sequence in (1, 2, 3):
            made.add(report(sequence))
        await made.settle(2)
        await asyncio.sleep(0.01)
        redis.client().flushall()
        made.add(report(4))
        assert await made.settle(2)
    assert redis.client().get("hashes") == "10"


async def test_while_redis_is_away_nothing_that_it_may_have_lost_is_forgotten(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A takeover may take longer than reports are kept while Redis answers."""
    monkeypatch.setattr("worker_svc.ledger.KEPT_SECONDS", 0.5)
    async with ledger(redis) as made:
        for sequence in (1, 2, 3):
            made.add(report(sequence))
        await made.settle(2)
        redis.client().flushall()
        redis.stop()
        made.add(report(4))
        await asyncio.sleep(1)
        redis.start()
        assert await made.settle(5)
    assert redis.client().get("hashes") == "40"


async def test_reports_queue_up_to_a_bound_while_redis_is_away(redis: RedisServer) -> None:
    redis.stop()
    async with ledger(redis) as made:
        for sequence in range(1, MAX_UNACKNOWLEDGED + 1):
            assert not made.full
            made.add(report(sequence))
        assert made.full
        redis.start()
        assert await made.settle(5)
        assert not made.full


async def test_the_wallet_is_held_to_its_limit_over_all_workers(redis: RedisServer) -> None:
    async with ledger(redis, "w-1", wallet_limit=3) as one, ledger(redis, "w-2", wallet_limit=3) as two:
        one.add(report(1, coins=2, wallet=(("a1", b"1"), ("a2", b"2"))))
        await one.settle(2)
        two.add(report(1, coins=2, wallet=(("b1", b"1"), ("b2", b"2"))))
        await two.settle(2)
        assert not two.wallet_open
    assert set(redis.client().hkeys("wallet")) == {"a1", "a2", "b1"}
    assert redis.client().get("coins") == "4"


async def test_totals_hold_the_hashes_of_each_ten_seconds(redis: RedisServer) -> None:
    """An interval over a boundary is shared out by time."""
    now_us = int(time.time()) // 10 * 10 * SECOND_US
    async with ledger(redis) as made:
        made.add(report(1, hashes=100, begin_us=now_us - 25 * SECOND_US, end_us=now_us))
        made.add(report(2, hashes=7, begin_us=now_us + SECOND_US, end_us=now_us + SECOND_US))
        await made.settle(2)
    buckets = redis.client().hgetall("totals").items()
    totals = {int(key) - now_us // SECOND_US: float(value) for key, value in buckets if key.isdigit()}
    assert totals == pytest.approx({-30: 20, -20: 40, -10: 40, 0: 7}, abs=NEARLY)


async def test_each_workers_totals_are_its_part_of_all(redis: RedisServer) -> None:
    begin_us = int(time.time()) // 10 * 10 * SECOND_US - 5 * SECOND_US
    end_us = begin_us + 10 * SECOND_US
    async with ledger(redis, "w-1") as one, ledger(redis, "w-2") as two:
        one.add(report(1, hashes=100, begin_us=begin_us, end_us=end_us))
        two.add(report(1, hashes=7, begin_us=begin_us, end_us=end_us))
        await one.settle(2)
        await two.settle(2)
    client = redis.client()
    parts = [client.hgetall(f"totals:{worker}") for worker in ("w-1", "w-2")]
    expected = [[50, 50], [3.5, 3.5]]
    assert [[float(hashes) for hashes in part.values()] for part in parts] == [
        pytest.approx(hashes, abs=NEARLY) for hashes in expected
    ]
    assert {bucket: float(hashes) for bucket, hashes in client.hgetall("totals").items()} == pytest.approx(
        {bucket: float(parts[0][bucket]) + float(parts[1][bucket]) for bucket in parts[0]}
    )


async def test_a_workers_totals_are_gone_an_hour_after_its_last_batch(redis: RedisServer) -> None:
    client = redis.client()
    async with ledger(redis) as made:
        made.add(report(1))
        await made.settle(2)
        assert 3_590 < client.ttl("totals:w-1") <= 3_600
        client.expire("totals:w-1", 1_000)
        made.add(report(2, hashes=0))
        await made.settle(2)
        assert client.ttl("totals:w-1") <= 1_000


async def test_a_workers_key_is_removed_a_day_after_its_last_report(redis: RedisServer) -> None:
    client = redis.client()
    gone = {f"gone-{number}": time.time() - 86_500 for number in range(15)}
    client.zadd("a:workers", {"w-0": time.time() - 86_000, **gone})
    for worker in ("w-0", *gone):
        client.hset(f"a:worker:{worker}", "sequence", 1)
    left = []
    async with ledger(redis, redis_prefix="a:") as made:
        for sequence in (1, 2):
            made.add(report(sequence))
            await made.settle(2)
            left.append((len(client.keys("a:worker:*")), client.zcard("a:workers")))
    assert left == [(7, 8), (2, 3)]  # the empty name is no worker's
    assert set(client.keys("a:worker:*")) == {"a:worker:w-0", "a:worker:w-1"}


@pytest.mark.parametrize("step_s", [90_000, 8_000_000])
async def test_no_worker_ages_when_the_clock_is_set_forward(redis: RedisServer, step_s: int) -> None:
    client = redis.client()
    before = time.time() - step_s
    client.zadd("workers", {"w-1": before, "w-2": before - 1, "": before})
    client.hset("worker:w-2", "sequence", 7)
    async with ledger(redis) as made:
        for sequence in (1, 2):
            made.add(report(sequence))
            await made.settle(2)
    assert client.hget("worker:w-2", "sequence") == "7"
    assert client.zscore("workers", "w-2") == pytest.approx(time.time() - 1, abs=10)


async def test_buckets_move_with_a_clock_that_is_set_back(redis: RedisServer) -> None:
    """So that no ten seconds are counted twice."""
    client = redis.client()
    now = int(time.time()) // 10 * 10
    for key, name in (("totals", ""), ("totals:w-1", "w-1")):
        client.hset(key, mapping={str(now + 3_600 - 10 * age): 100 for age in range(300)})
        client.zadd("workers", {name: now + 3_600})
    async with ledger(redis) as made:
        for sequence in (1, 2):
            made.add(report(sequence, hashes=7, begin_us=now * SECOND_US, end_us=now * SECOND_US + 1))
            await made.settle(2)
    for key in ("totals", "totals:w-1"):
        buckets = {int(bucket) - now: float(hashes) for bucket, hashes in client.hgetall(key).items()}
        assert sum(buckets.values()) == pytest.approx(30_014)
        assert len(buckets) == pytest.approx(300, abs=1)
        assert max(buckets) <= 0


async def test_a_report_whose_worker_got_no_further_is_counted_by_whoever_comes_next(redis: RedisServer) -> None:
    client = redis.client()
    async with ledger(redis, "w-1") as one:

        async def write_down(*report: bytes | str | int) -> tuple[int, int]:
            if not client.exists("pending_report"):
                await one._script(keys=one._keys, args=report)
            raise ConnectionError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one, "_take", write_down)
            one.add(report(1, coins=1, wallet=(("ab", b"x"),)))
            assert not await one.settle(0.3)
            assert client.exists("pending_report")
            async with ledger(redis, "w-2") as two:
                two.add(report(1))
                assert await two.settle(2)
            counted = redis.content()
        assert await one.settle(2)
    assert redis.content() == counted
    assert (counted["hashes"], counted["coins"], counted["wallet"]) == ("20", "1", {"ab": "x"})
    assert [entry["worker"] for _, entry in counted["reports"]] == ["w-1", "w-2"]


async def test_totals_keep_an_hour(redis: RedisServer) -> None:
    now = int(time.time()) // 10 * 10
    for key in ("totals", "totals:w-1"):
        redis.client().hset(key, mapping={str(now - 10 * age): "1" for age in range(400)})
    async with ledger(redis) as made:
        made.add(report(1, begin_us=now * SECOND_US))
        await made.settle(2)
    for key in ("totals", "totals:w-1"):
        assert len(redis.client().hkeys(key)) <= 362


async def test_reports_older_than_fifteen_minutes_are_trimmed(redis: RedisServer) -> None:
    client = redis.client()
    for age in range(2_000, 1_000, -1):
        client.xadd("reports", {"x": "y"}, id=f"{(int(time.time()) - age) * 1000}-0")
    async with ledger(redis) as made:
        made.add(report(1))
        await made.settle(2)
    assert client.xlen("reports") < 200


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_that_holds_something_else_counts_nothing_until_it_is_mended(redis: RedisServer, key: str) -> None:
    """Redis does not undo what a script wrote before it failed."""
    redis.client().set(key, "odd")
    async with ledger(redis) as made:
        made.add(report(1))
        assert not await made.settle(0.5)
        redis.client().delete(key)
        assert await made.settle(3)
    assert redis.client().get("hashes") == "10"


def fill_coins(client: Any) -> None:
    client.set("coins", 2**63 - 1)


def end_reports(client: Any) -> None:
    client.xadd("reports", {"nothing": "comes after it"}, id=f"{2**64 - 1}-{2**64 - 1}")


@pytest.mark.parametrize(
    ("spoil", "key", "coins"), [(fill_coins, "coins", 2), (end_reports, "reports", 2), (end_reports, "reports", 0)]
)
async def test_a_key_of_the_right_type_that_takes_nothing_more_counts_nothing_until_it_is_mended(
    redis: RedisServer, spoil: Callable[[Any], None], key: str, coins: int
) -> None:
    client = redis.client()
    spoil(client)
    async with ledger(redis) as made:
        made.add(report(1, coins=coins))
        assert not await made.settle(0.5)
        assert made.resent
        assert not client.exists("hashes")
        client.delete(key)
        assert await made.settle(3)
    assert (client.get("hashes"), client.get("coins"), client.xlen("reports")) == ("10", str(coins), 1)


@pytest.mark.parametrize("odd", ["many", "", "1 000"])
async def test_a_bucket_that_is_no_number_is_begun_anew(redis: RedisServer, odd: str) -> None:
    client = redis.client()
    for key in ("totals", "totals:w-1"):
        client.hset(key, "1700000000", odd)
    async with ledger(redis) as made:
        made.add(report(1, begin_us=NOW_US - SECOND_US))
        assert await made.settle(2)
    assert client.get("hashes") == "10"
    assert {client.hget(key, "1700000000") for key in ("totals", "totals:w-1")} == {"10"}


async def test_a_redis_restored_from_a_much_older_state_gets_what_is_still_kept(redis: RedisServer) -> None:
    async with ledger(redis) as made:
        for sequence in range(1, 6):
            made.add(report(sequence))
        await made.settle(2)
        await asyncio.sleep(0.01)
        made._forget(0.0)
        for sequence in range(6, 9):
            made.add(report(sequence))
        await made.settle(2)
        redis.client().flushall()
        made.add(report(9))
        assert await made.settle(2)
    assert redis.client().get("hashes") == "40"


async def test_whoever_waits_for_reports_is_not_kept_by_a_long_pause(redis: RedisServer) -> None:
    redis.stop()
    async with ledger(redis) as made:
        made.add(report(1))
        await asyncio.sleep(4)
        redis.start()
        assert await made.settle(0.5)


async def test_counts_survive_a_killed_redis(redis: RedisServer) -> None:
    """What was acknowledged is on disk."""
    async with ledger(redis) as made:
        for sequence in range(1, 6):
            made.add(report(sequence))
            await made.settle(2)
        redis.stop(signal.SIGKILL)
        redis.start()
    assert redis.client().get("hashes") == "50"
