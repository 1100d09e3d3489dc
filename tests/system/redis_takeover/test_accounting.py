"""Whoever takes over from whom, each report is counted once."""

import asyncio
import contextlib
from signal import SIGCONT, SIGKILL
from typing import Any

import pytest
from redis.exceptions import RedisError
from structlog.testing import capture_logs
from support.redis_deployment import Cluster, Deployment, SentinelSet, until
from support.redis_server import RedisServer
from system.redis_takeover.reporting import HASHES, all_the_time, reporting

from chassis.redis.connection import LOOK_INTERVAL

# Failing over is a matter of silence, which a busy machine keeps, too.
pytestmark = pytest.mark.pair

NOTICED_WITHIN = LOOK_INTERVAL + 1
"""Seconds in which a client leaves a master that others were put in place of; the next report may be a while."""


async def taken_over(deployment: Deployment, old: RedisServer) -> None:
    await asyncio.to_thread(deployment.until_taken_over, old)


async def test_what_is_reported_while_a_replica_takes_over_from_a_killed_master(deployment: Deployment) -> None:
    async with reporting(deployment) as made:
        async with all_the_time(made):
            await asyncio.sleep(0.5)
            old = deployment.master
            old.stop(SIGKILL)
            await taken_over(deployment, old)
            await asyncio.sleep(0.5)
        await made.settle()


async def test_what_is_reported_while_a_replica_takes_over_from_a_frozen_master(deployment: Deployment) -> None:
    async with reporting(deployment) as made:
        async with all_the_time(made):
            await asyncio.sleep(0.5)
            old = deployment.master
            old.freeze()
            await taken_over(deployment, old)
            old.send(SIGCONT)  # it takes itself for the master still, for a moment
            await asyncio.sleep(NOTICED_WITHIN)
        await made.settle()


async def test_what_no_replica_had_when_it_took_over_is_reported_again(deployment: Deployment) -> None:
    """A master acknowledges before its replicas have it."""
    async with reporting(deployment) as made:
        made.add(5)
        await made.settle()
        old = deployment.master
        cut_off = deployment.cut_off_replicas()
        assert cut_off
        made.add(5)
        await made.settle()
        old.stop(SIGKILL)
        for replica in cut_off:
            replica.send(SIGCONT)
        await taken_over(deployment, old)
        assert int(deployment.ask("GET", deployment.keys.hashes)) == 5 * HASHES  # that much is lost
        assert made.sequences() == [1, 2, 3, 4, 5]
        with capture_logs() as lines:
            made.add()
            await made.settle()
    [behind] = [line for line in lines if line["event"] == "redis is behind, reporting again"]
    assert (behind["held"], behind["acknowledged"]) == (5, 10)


async def test_a_master_that_others_were_put_in_place_of_is_left(deployment: Deployment) -> None:
    """With Sentinels it is the last to learn of it, and takes reports for some seconds that go with it."""
    async with reporting(deployment) as made:
        async with all_the_time(made):
            await asyncio.sleep(0.5)
            old = deployment.master
            if isinstance(deployment, SentinelSet):
                told: Any = deployment.sentinels[0].client()
                told.execute_command("SENTINEL FAILOVER", "coins")
            else:
                deployment.replicas[0].client().execute_command("CLUSTER FAILOVER")
            await taken_over(deployment, old)
            await asyncio.sleep(NOTICED_WITHIN)
        await made.settle()


async def test_reports_wait_while_their_slot_moves_to_another_node(cluster: Cluster) -> None:
    async with reporting(cluster) as made:
        async with all_the_time(made):
            await asyncio.sleep(0.5)
            source = cluster.master
            target = next(server for server in cluster.servers[:3] if server is not source)
            await asyncio.to_thread(move_slot, cluster, source, target)
            await asyncio.to_thread(until, lambda: cluster.master is target, "the slot has moved")
            await asyncio.sleep(0.5)
        await made.settle()


def move_slot(cluster: Cluster, source: RedisServer, target: RedisServer) -> None:
    """As `redis-cli --cluster reshard` does it."""
    slot, from_id, to_id = cluster.slot, cluster.tell(source, "MYID"), cluster.tell(target, "MYID")
    cluster.tell(target, "SETSLOT", slot, "IMPORTING", from_id)
    cluster.tell(source, "SETSLOT", slot, "MIGRATING", to_id)
    client: Any = source.client()
    while keys := cluster.tell(source, "GETKEYSINSLOT", slot, 1):
        for key in keys:
            client.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)
    for server in (target, source):
        cluster.tell(server, "SETSLOT", slot, "NODE", to_id)


async def test_all_keys_of_a_cluster_are_in_one_slot(cluster: Cluster) -> None:
    gone = cluster.keys.worker("w-0")
    cluster.ask("HSET", gone, "sequence", 1)
    cluster.ask("ZADD", cluster.keys.workers, 1_700_000_000, "w-0")
    async with reporting(cluster) as made:
        made.add()
        await made.settle()
    kept: set[str] = set()
    for server in cluster.servers[:3]:
        with contextlib.suppress(RedisError):
            kept.update(server.client().keys())
    names = {"hashes", "coins", "reports", "totals", "totals:w-1", "worker:w-1", "workers"}
    assert kept == {f"{{dockercoins}}:{name}" for name in names}
    assert len(cluster.tell(cluster.master, "GETKEYSINSLOT", cluster.slot, 100)) == len(names)


async def test_sentinels_that_are_frozen_are_passed_over(sentinels: SentinelSet) -> None:
    for sentinel in sentinels.sentinels[:2]:
        sentinel.freeze()
    try:
        async with reporting(sentinels) as made:
            made.add()
            assert await made.ledger.settle(5)
            assert made.ledger.taking
    finally:
        for sentinel in sentinels.sentinels:
            sentinel.send(SIGCONT)


async def test_a_master_that_no_sentinel_knows_is_named(sentinels: SentinelSet) -> None:
    sentinels.url = sentinels.url.replace("/coins", "/other")
    with capture_logs() as lines:
        async with reporting(sentinels) as made:
            made.add()
            assert not await made.ledger.settle(1)
    assert "this Sentinel knows no master other" in next(line["cause"] for line in lines if "cause" in line)
