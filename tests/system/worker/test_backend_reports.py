"""What a worker's key says of its backends, as they come, go and are held up."""

import asyncio
import json
import re
import signal
import time
from typing import Any

import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses
from system.worker.test_worker_process import System, hashes_in, until

from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry
from worker_svc.service import CHANGE_PAUSE, Worker
from worker_svc.settings import WorkerSettings

SELDOM = 30
"""Seconds between reports where those about changes are wanted alone."""


def seen(redis: RedisServer) -> dict[str, Any]:
    """What the only worker's key says of its backends, nothing until there is one."""
    for key in redis.client().keys("worker:*"):
        said: dict[str, Any] = json.loads(redis.client().hget(key, "backends"))
        return said
    return {"rng": [], "hasher": []}


def states(redis: RedisServer) -> dict[str, str]:
    return {each["name"]: each["state"] for name in ("rng", "hasher") for each in seen(redis)[name]}


def reports(redis: RedisServer) -> list[dict[str, str]]:
    return [entry for _, entry in redis.client().xrange("reports")]


def start(processes: ServiceProcesses, redis: RedisServer, rngs: int = 1, **worker: object) -> tuple[System, list[int]]:
    """A system at full pace, its first rng started, and the ports where its worker looks for rngs."""
    ports = [free_port() for _ in range(rngs)]
    rng = processes.start("rng", PACE="full", PORT=ports[0], INSTANCE="rng-a")
    hasher = processes.start("hasher", PACE="full", INSTANCE="hasher-a")
    targets = {
        "RNG_TARGET": "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports),
        "HASHER_TARGET": f"ipv4:127.0.0.1:{hasher.port}",
    }
    values = {"PACE": "full", "BATCH_SIZE": 64, "REDIS_URL": redis.url, **targets, **worker}
    return System(rng, hasher, processes.start("worker", **values)), ports


def test_each_backends_batches_and_latencies_are_told(processes: ServiceProcesses, redis: RedisServer) -> None:
    system, _ = start(processes, redis)
    until(lambda: int(reports(redis)[-1]["hashes"] if reports(redis) else 0) > 0)
    told = seen(redis)
    hashes = int(reports(redis)[-1]["hashes"])
    assert 0 < told["seconds"] < 2
    for service in ("rng", "hasher"):
        [backend] = told[service]
        assert (backend["name"], backend["state"]) == (f"{service}-a", "serving")
        assert sum(backend["latency"].values()) == backend["batches"]
        # What the hasher has answered is counted, but for what is under way between the two.
        assert abs(backend["batches"] - hashes / 64) <= 8
        assert all(0 < int(bucket) < 90 for bucket in backend["latency"])
    assert system.stop() == [0, 0, 0]


@pytest.mark.pair(reason="what changes is told within 1 s")
def test_a_backend_that_comes_or_dies_is_told_within_a_second(processes: ServiceProcesses, redis: RedisServer) -> None:
    system, ports = start(processes, redis, rngs=2, REPORT_INTERVAL=SELDOM)
    system.worker.wait_for("backends.*count=1 names=rng-a")
    until(lambda: states(redis) == {"rng-a": "serving", "hasher-a": "serving"}, 1)
    other = processes.start("rng", PACE="full", PORT=ports[1], INSTANCE="rng-b")
    system.worker.wait_for("backends.*count=2 names='?rng-a rng-b")
    until(lambda: states(redis).get("rng-b") == "serving", 1)
    other.kill()
    until(lambda: states(redis).get("rng-b") == "gone", 1)
    assert states(redis)["rng-a"] == "serving"
    assert system.stop() == [0, 0, 0]
    assert [int(each["sequence"]) for each in reports(redis)] == list(range(1, len(reports(redis)) + 1))
    assert hashes_in(redis) == system.worker.units_logged > 0


@pytest.mark.pair(reason="what is late is told within 2 s")
def test_one_that_is_held_up_is_late_and_serves_again(processes: ServiceProcesses, redis: RedisServer) -> None:
    system, _ = start(processes, redis, REPORT_INTERVAL=SELDOM, GENERATION=60)
    until(lambda: states(redis).get("hasher-a") == "serving")
    time.sleep(1)
    system.hasher.send(signal.SIGSTOP)
    until(lambda: states(redis)["hasher-a"] == "late", 2)
    assert states(redis)["rng-a"] == "serving"
    system.hasher.send(signal.SIGCONT)
    until(lambda: states(redis)["hasher-a"] == "serving", 2)
    assert system.stop() == [0, 0, 0]


@pytest.mark.pair(reason="what is gone is told within 1 s, for 10 to 12.5")
def test_one_that_is_gone_is_told_for_ten_seconds(processes: ServiceProcesses, redis: RedisServer) -> None:
    system, ports = start(processes, redis, rngs=2)
    other = processes.start("rng", PACE="full", PORT=ports[1], INSTANCE="rng-b")
    until(lambda: states(redis).get("rng-b") == "serving")
    other.kill()
    until(lambda: states(redis)["rng-b"] == "gone", 1)
    assert 8 < until(lambda: "rng-b" not in states(redis), 13) < 12.5
    assert system.stop() == [0, 0, 0]


def test_the_latest_coins_are_told_though_the_wallet_takes_none(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    system, _ = start(processes, redis, WALLET_LIMIT=0)
    until(lambda: hashes_in(redis) > 0)
    [key] = redis.client().keys("worker:*")
    told = json.loads(redis.client().hget(key, "coins"))
    assert told["bits"] == 4
    assert len(told["latest"]) == 8
    for digest, found in told["latest"]:
        assert re.fullmatch("0[0-9a-f]{63}", digest)
        assert abs(time.time() - found) < 3
    assert not redis.client().exists("wallet")
    assert system.stop() == [0, 0, 0]


def test_while_redis_is_away_changes_make_no_reports(processes: ServiceProcesses, redis: RedisServer) -> None:
    system, ports = start(processes, redis, rngs=2, REPORT_INTERVAL=SELDOM)
    until(lambda: states(redis).get("rng-a") == "serving")
    redis.stop()
    before = system.worker.text.count("units of work done")
    for number in (1, 2):
        rng = processes.start("rng", PACE="full", PORT=ports[1], INSTANCE=f"rng-{number}")
        system.worker.wait_for(f"backends.*rng-{number}")
        rng.kill()
        time.sleep(1)
    # The one that found out.
    assert system.worker.text.count("units of work done") <= before + 1
    redis.start()
    until(lambda: states(redis).get("rng-2") == "gone")
    assert system.stop() == [0, 0, 0]
    assert hashes_in(redis) == system.worker.units_logged


async def test_backends_that_change_all_the_time_make_four_reports_a_second(redis: RedisServer) -> None:
    settings = WorkerSettings(redis_url=redis.url, instance="w", report_interval=SELDOM)
    worker = Worker(settings, Telemetry(Health()))
    worker._tally.begin(asyncio.get_running_loop().time())
    worker._connected.set()
    tasks = [asyncio.create_task(work) for work in (worker._report_changes(), worker.send_reports())]
    try:
        for _ in range(125):
            worker._look_at_backends()
            await asyncio.sleep(0.01)
        made = len(reports(redis))
        assert 3 <= made <= 125 * 0.01 / CHANGE_PAUSE + 2
        await worker.drain()
        await asyncio.sleep(CHANGE_PAUSE)
        made = len(reports(redis))
        worker._look_at_backends()
        await asyncio.sleep(2 * CHANGE_PAUSE)
        assert len(reports(redis)) == made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await worker.close()
