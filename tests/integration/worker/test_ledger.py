import json
import signal
import time

import pytest
from structlog.testing import capture_logs
from support.ledgers import BEGIN_US, SECOND_US, causes, ledger, report, send, taken
from support.redis_server import RedisServer
from support.waiting import until

from chassis.redis.schema import Coin, ReplicaState, ReplicaStats
from worker_svc.ledger import MAX_UNACKNOWLEDGED

KEYS = ["hashes", "coins", "wallet", "reports", "totals", "worker:w-1", "totals:w-1", "workers", "pending_report"]

# Hashes in a bucket: a report takes a moment to reach Redis, which the script takes for a difference of clocks.
NEARLY = 1.0


def sequences(redis: RedisServer) -> list[int]:
    return [int(entry["sequence"]) for _, entry in redis.client().xrange("reports")]


async def test_a_report_is_counted_everywhere(redis: RedisServer) -> None:
    rng = ReplicaStats("rng-1", "10.0.0.3:50051", ReplicaState.SLOW, 12, {40: 11, 47: 1})
    latest = Coin("00ab", 1_700_000_000.125)
    wallet = (("ab", b"\x00x"), ("cd", b"y"))
    made = report(1, hashes=5, coins=2, wallet=wallet, seconds=1.003, rng=[rng], latest=[latest])
    await send(redis.url, made)
    client = redis.client()
    assert (client.get("hashes"), client.get("coins"), client.hget("wallet", "cd")) == ("5", "2", "y")
    [(_, entry)] = client.xrange("reports")
    sent_us, redis_us = int(entry.pop("sent_us")), int(entry.pop("redis_us"))
    assert sent_us - 1_000 <= redis_us <= time.time_ns() // 1_000
    assert (entry.pop("begin_us"), entry.pop("end_us")) == (str(BEGIN_US), str(BEGIN_US + SECOND_US))
    assert " ".join(f"{name}={value}" for name, value in entry.items()) == (
        "worker=w-1 instance=w sequence=1 hashes=5 coins=2 batch_size=1 pace=classic report_interval_us=1000000 "
        "stalled_since_us=0 waits_for="
    )
    key = client.hgetall("worker:w-1")
    assert key["sequence"] == "1"
    at = {"address": "10.0.0.3:50051"}
    replica = {"name": "rng-1", **at, "state": "slow", "batches": 12, "latency": {"40": 11, "47": 1}}
    replica |= {"busy_s": 0.0, "outstanding_s": 0.0, "unqueued_s": 0.0}
    seen = {"seconds": 1.003, "rng": [replica], "hasher": [], "window": 0, "cpu_s": 0.0}
    assert json.loads(key["replicas"]) == seen
    assert json.loads(key["coins"]) == {"bits": 4, "latest": [["00ab", 1_700_000_000.125]]}
    assert not client.exists("pending_report")
    assert [name for name in client.scan_iter() if client.ttl(name) >= 0] == ["totals:w-1"]  # what Redis may evict


async def test_a_connection_causes_no_error_in_redis(own_redis: RedisServer) -> None:
    """The first report finds that the script is not loaded."""
    client = own_redis.client()
    client.config_resetstat()
    await send(own_redis.url, report(1))
    assert set(client.info("errorstats")) <= {"errorstat_NOSCRIPT"}


async def test_a_report_is_counted_once_though_it_is_sent_again(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis freezes after it has received the report, and takes it when it goes on."""
    async with ledger(own_redis.url) as made:
        await taken(made, report(1))
        monkeypatch.setattr("worker_svc.ledger.RESPONSE_LIMIT_S", 0.2)
        own_redis.freeze()
        with capture_logs() as lines:
            made.add(report(2))
            await until(lambda: made.resent)
        monkeypatch.undo()
        own_redis.send(signal.SIGCONT)
        await taken(made, report(3))
    assert own_redis.client().get("hashes") == "30"
    assert sequences(own_redis) == [1, 2, 3]
    assert "no response to report 2 within 0.2 s" in causes(lines)


async def test_a_redis_that_is_gone_for_a_while_gets_everything_once(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was acknowledged before and got lost, and up to a bound what was made meanwhile."""
    async with ledger(own_redis.url) as made:
        await taken(made, report(1))
        assert (made.counted, made.resent) == (1, 0)
        own_redis.client().flushall()
        own_redis.stop()
        monkeypatch.setattr("worker_svc.ledger.KEPT_S", 0.0)
        monkeypatch.setattr("worker_svc.ledger.FOREIGN_LIMIT_S", 0.0)
        for sequence in range(2, MAX_UNACKNOWLEDGED + 2):
            assert not made.full
            made.add(report(sequence))
        assert (made.accepting, made.full, made.unreported_hashes) == (False, True, 10 * MAX_UNACKNOWLEDGED)
        await until(lambda: made.resent)
        own_redis.start()
        assert await made.flush(20)
        assert (made.accepting, made.unreported_hashes, made.counted) == (True, 0, MAX_UNACKNOWLEDGED + 1)
        own_redis.stop(signal.SIGKILL)  # what was acknowledged is in its file
        own_redis.start()
    assert own_redis.client().get("hashes") == str(10 * (MAX_UNACKNOWLEDGED + 1))
    assert sequences(own_redis) == list(range(1, MAX_UNACKNOWLEDGED + 2))


async def test_a_redis_restored_from_an_older_state_gets_again_what_it_lost(redis: RedisServer) -> None:
    client = redis.client()
    async with ledger(redis.url) as made:
        for sequence in (1, 2, 3):
            await taken(made, report(sequence, seconds=float(sequence)))
        client.set("hashes", 10)
        client.hset("worker:w-1", "sequence", 1)
        await taken(made, report(4, seconds=4.0))
        # What is sent again makes no report more, nor does the last one, which was refused while they were missing.
        assert (made.counted, made.resent) == (4, 3)
    assert client.get("hashes") == "40"
    assert json.loads(client.hget("worker:w-1", "replicas"))["seconds"] == 4


async def test_what_is_no_longer_kept_is_not_waited_for(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ledger(redis.url) as made:
        monkeypatch.setattr("worker_svc.ledger.KEPT_S", -1.0)
        await taken(made, report(1))
        monkeypatch.undo()
        monkeypatch.setattr("worker_svc.ledger.FOREIGN_LIMIT_S", 0.0)
        await taken(made, report(2))
        redis.client().flushall()
        await taken(made, report(3))
    assert sequences(redis) == [2, 3]


async def test_the_wallet_is_held_to_its_limit_over_all_workers(redis: RedisServer) -> None:
    async with ledger(redis.url, "w-1", wallet_limit=3) as one, ledger(redis.url, "w-2", wallet_limit=3) as two:
        await taken(one, report(1, coins=2, wallet=(("a1", b"1"), ("a2", b"2"))))
        assert one.wallet_open
        await taken(two, report(1, coins=2, worker="w-2", wallet=(("b1", b"1"), ("b2", b"2"))))
        assert not two.wallet_open
    assert set(redis.client().hkeys("wallet")) == {"a1", "a2", "b1"}
    assert redis.client().mget("hashes", "coins") == ["20", "4"]


async def test_totals_share_out_each_worker_s_hashes_over_ten_seconds_each(redis: RedisServer) -> None:
    now_us = int(time.time()) // 10 * 10 * SECOND_US
    interval = (now_us - 25 * SECOND_US, now_us)
    moment = (now_us + SECOND_US, now_us + SECOND_US)
    await send(redis.url, report(1, 100, 0, *interval), report(2, 7, 0, *moment))
    await send(redis.url, report(1, 50, 0, *interval, worker="w-2"), worker_id="w-2")

    def totals(key: str) -> dict[int, float]:
        buckets = redis.client().hgetall(key).items()
        return {int(bucket) - now_us // SECOND_US: float(hashes) for bucket, hashes in buckets}

    of_one, of_two, of_both = totals("totals:w-1"), totals("totals:w-2"), totals("totals")
    assert of_one == pytest.approx({-30: 20, -20: 40, -10: 40, 0: 7}, abs=NEARLY)
    assert of_two == pytest.approx({-30: 10, -20: 20, -10: 20, 0: 0}, abs=NEARLY)
    assert of_both == pytest.approx({bucket: of_one[bucket] + of_two[bucket] for bucket in of_both})


async def test_time_without_a_batch_has_buckets_of_nothing_and_time_without_a_worker_has_none(
    redis: RedisServer,
) -> None:
    now = time.time()
    await send(redis.url, report(1, hashes=0))
    buckets = redis.client().hgetall("totals")
    assert set(buckets.values()) == {"0"}
    assert now // 10 * 10 - 10 <= min(map(int, buckets)) <= max(map(int, buckets)) <= time.time()
    assert not redis.client().exists("totals:w-1")


async def test_totals_keep_an_hour_and_begin_anew_where_a_bucket_holds_no_number(redis: RedisServer) -> None:
    client = redis.client()
    now = int(time.time()) // 10 * 10
    for key in ("totals", "totals:w-1"):
        client.hset(key, mapping={**{str(now - 10 * age): "1" for age in range(400)}, str(now): "1 000"})
    await send(redis.url, report(1, begin_us=now * SECOND_US, end_us=now * SECOND_US))
    for key in ("totals", "totals:w-1"):
        assert client.hlen(key) <= 362
        assert float(client.hget(key, str(now))) == pytest.approx(10)
    assert client.ttl("totals") == -1
    assert 3_500 < client.ttl("totals:w-1") <= 3_600
    client.expire("totals:w-1", 1_000)
    await send(redis.url, report(2, hashes=0))
    assert client.ttl("totals:w-1") <= 1_000  # it is gone an hour after the last batch


async def test_a_worker_s_key_is_removed_a_day_after_its_last_report(redis: RedisServer) -> None:
    client = redis.client()
    gone = {f"gone-{number}": time.time() - 86_500 for number in range(15)}
    client.zadd("a:workers", {"w-0": time.time() - 86_000, **gone})
    for worker in ("w-0", *gone):
        client.hset(f"a:worker:{worker}", "sequence", 1)
    await send(redis.url, report(1), redis_prefix="a:")
    assert len(client.keys("a:worker:*")) == 7  # ten at a time
    await send(redis.url, report(2), redis_prefix="a:")
    assert set(client.keys("a:worker:*")) == {"a:worker:w-0", "a:worker:w-1"}


async def test_no_worker_ages_when_the_clock_is_set_forward(redis: RedisServer) -> None:
    client = redis.client()
    before = time.time() - 90_000
    client.zadd("workers", {"w-1": before, "w-2": before - 1, "": before})
    client.hset("worker:w-2", "sequence", 7)
    await send(redis.url, report(1), report(2))
    assert client.hget("worker:w-2", "sequence") == "7"
    assert client.zscore("workers", "w-2") == pytest.approx(time.time() - 1, abs=30)


async def test_buckets_move_with_a_clock_that_is_set_back_so_that_none_counts_twice(redis: RedisServer) -> None:
    client = redis.client()
    now = int(time.time()) // 10 * 10
    client.zadd("workers", dict.fromkeys(("", "w-1"), now + 3_600))
    for key in ("totals", "totals:w-1"):
        client.hset(key, mapping={str(now + 3_600 - 10 * age): 100 for age in range(300)})
    moment = (now * SECOND_US, now * SECOND_US + 1)
    await send(redis.url, report(1, 7, 0, *moment), report(2, 7, 0, *moment))
    for key in ("totals", "totals:w-1"):
        buckets = {int(bucket) - now: float(hashes) for bucket, hashes in client.hgetall(key).items()}
        assert sum(buckets.values()) == pytest.approx(30_014)
        assert len(buckets) == pytest.approx(300, abs=2)
        assert max(buckets) <= 10


async def test_reports_older_than_fifteen_minutes_are_trimmed(redis: RedisServer) -> None:
    client = redis.client()
    for age in range(2_000, 1_000, -1):
        client.xadd("reports", {"x": "y"}, id=f"{(int(time.time()) - age) * 1000}-0")
    await send(redis.url, report(1))
    assert client.xlen("reports") < 200


ODD = [("SET", key, "odd") for key in KEYS]
FULL = [("SET", "coins", 2**63 - 1), ("XADD", "reports", f"{2**64 - 1}-{2**64 - 1}", "nothing", "comes after it")]


@pytest.mark.parametrize(("command", "key", "words"), [(command, key, words) for command, key, *words in ODD + FULL])
async def test_a_key_that_can_not_take_the_report_counts_nothing_until_it_is_mended(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, command: str, key: str, words: list[object]
) -> None:
    """Redis does not undo what a script wrote before it failed. A flush waits for no long pause to end."""
    client = redis.client()
    client.execute_command(command, key, *words)
    with capture_logs() as lines:
        async with ledger(redis.url) as made:
            monkeypatch.setattr("worker_svc.retry.INITIAL_BACKOFF_S", 3_600)
            monkeypatch.setattr("worker_svc.retry.MAX_BACKOFF_S", 3_600)
            made.add(report(1, coins=2))
            await until(lambda: causes(lines))
            assert key == "hashes" or not client.exists("hashes")
            client.delete(key)
            assert await made.flush(20)
    assert (client.get("hashes"), client.get("coins"), client.xlen("reports")) == ("10", "2", 1)


async def test_a_redis_that_may_evict_any_key_takes_nothing_and_the_log_says_what_to_set(
    own_redis: RedisServer,
) -> None:
    client = own_redis.client()
    client.config_set("maxmemory-policy", "allkeys-random")
    with capture_logs() as lines:
        async with ledger(own_redis.url) as made:
            made.add(report(1))
            await until(lambda: causes(lines))
            assert not made.accepting
            assert not client.keys()
            client.config_set("maxmemory-policy", "noeviction")
            assert await made.flush(20)
            client.config_set("maxmemory-policy", "allkeys-lru")
            for sequence in range(2, 13):
                made.add(report(sequence))
            await until(lambda: not made.accepting)  # within ten reports
            assert int(client.get("hashes")) <= 100
            client.config_set("maxmemory-policy", "volatile-lfu")
            assert await made.flush(20)
    assert client.get("hashes") == "120"
    assert causes(lines)[0] == (
        "EVICTION maxmemory-policy is allkeys-random, which may evict what was counted; "
        "it must be noeviction, or one that begins with volatile-"
    )


async def test_what_was_counted_before_its_sequence_number_was_evicted_is_not_counted_again(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_svc.ledger.FOREIGN_LIMIT_S", 0.0)
    client = own_redis.client()
    async with ledger(own_redis.url) as made:
        await taken(made, report(1))
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.delete("worker:w-1")
        made.add(report(2))
        await until(lambda: not made.accepting)
        assert client.get("hashes") == "10"
        client.config_set("maxmemory-policy", "noeviction")
        assert await made.flush(20)
    assert client.get("hashes") == "20"


async def test_a_redis_that_has_no_room_takes_all_of_a_report_or_nothing(own_redis: RedisServer) -> None:
    client = own_redis.client()
    with capture_logs() as lines:
        async with ledger(own_redis.url) as made:
            await taken(made, report(1))
            before = own_redis.content()
            client.config_set("maxmemory", 1)
            made.add(report(2, coins=1, wallet=(("ab", b"x"),)))
            await until(lambda: not made.accepting)
            assert own_redis.content() == before
            client.config_set("maxmemory", 0)
            assert await made.flush(20)
    assert (client.get("hashes"), client.hlen("wallet"), client.xlen("reports")) == ("20", 1, 2)
    assert "maxmemory must leave room for what is counted" in causes(lines)[0]
