"""What is counted by a Redis that has no memory left, by what it may evict."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from support.redis_server import RedisServer
from system.worker.test_ledger import ledger, report

MIB = 1 << 20
DAYS = 864_000
"""Seconds that another application's keys live, which is longer than ours do."""


def fill(client: Any) -> None:
    """Have another application use all memory, until a key of ours is evicted."""
    client.config_set("maxmemory-policy", "volatile-ttl")
    client.config_set("maxmemory-samples", 64)
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + MIB)
    for number in range(10_000):
        client.set(f"other:{number}", bytes(10_000), ex=DAYS)
        if not client.exists("totals:w-1"):
            return
    pytest.fail("nothing of ours was evicted")


async def test_what_is_counted_survives_a_policy_that_evicts_keys_with_a_time_to_live(redis: RedisServer) -> None:
    client = redis.client()
    async with ledger(redis) as made:
        made.add(report(1))
        made.add(report(2))
        assert await made.settle(3)
        assert [key for key in client.scan_iter() if client.ttl(key) >= 0] == ["totals:w-1"]
        fill(client)
        made.add(report(3))
        assert await made.settle(3)
    assert client.get("hashes") == "30"
    assert [entry["sequence"] for _, entry in client.xrange("reports")] == ["1", "2", "3"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_redis_that_may_evict_any_key_takes_nothing_and_says_what_to_set(
    redis: RedisServer, policy: str
) -> None:
    client = redis.client()
    client.config_set("maxmemory-policy", policy)
    ready = []
    with capture_logs() as lines:
        async with ledger(redis) as made:
            made.on_change = lambda: ready.append(made.taking)
            made.add(report(1))
            assert not await made.settle(0.3)
            assert not any(ready)
            assert not client.keys()
            client.config_set("maxmemory-policy", "noeviction")
            assert await made.settle(3)
            assert made.taking
    assert client.get("hashes") == "10"
    [cause] = [line["cause"] for line in lines if "cause" in line]
    assert cause == (
        f"EVICTION maxmemory-policy is {policy}, which may evict what was counted; "
        "it must be noeviction, or one that begins with volatile-"
    )


async def test_a_policy_that_changes_is_noticed_within_ten_reports(redis: RedisServer) -> None:
    client = redis.client()
    async with ledger(redis) as made:
        made.add(report(1))
        assert await made.settle(3)
        client.config_set("maxmemory-policy", "allkeys-lru")
        for sequence in range(2, 13):
            made.add(report(sequence))
        assert not await made.settle(0.5)
        assert not made.taking
        assert client.get("hashes") == "100"
        client.config_set("maxmemory-policy", "volatile-lfu")
        assert await made.settle(3)
    assert client.get("hashes") == "120"


async def test_what_was_counted_before_its_sequence_number_was_evicted_is_not_counted_again(redis: RedisServer) -> None:
    client = redis.client()
    async with ledger(redis) as made:
        for sequence in (1, 2):
            made.add(report(sequence))
        assert await made.settle(3)
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.delete("worker:w-1")
        made.add(report(3))
        assert not await made.settle(0.5)
        assert client.get("hashes") == "20"
        client.config_set("maxmemory-policy", "noeviction")
        assert await made.settle(3)
    assert client.get("hashes") == "30"


async def test_a_redis_that_has_no_room_takes_all_of_a_report_or_nothing(redis: RedisServer) -> None:
    client = redis.client()
    with capture_logs() as lines:
        async with ledger(redis) as made:
            made.add(report(1))
            assert await made.settle(3)
            before = redis.content()
            client.config_set("maxmemory", 1)
            made.add(report(2, coins=1, wallet=(("ab", b"x"),)))
            assert not await made.settle(0.5)
            assert not made.taking
            assert redis.content() == before
            client.config_set("maxmemory", 0)
            assert await made.settle(3)
    assert (client.get("hashes"), client.hlen("wallet"), client.xlen("reports")) == ("20", 1, 2)
    assert "maxmemory must leave room for what is counted" in next(line["cause"] for line in lines if "cause" in line)
