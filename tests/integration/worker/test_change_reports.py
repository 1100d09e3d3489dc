"""Replicas that join and leave all the time make reports that Redis and the page can bear."""

import asyncio

import pytest
from support.redis_server import RedisServer
from support.waiting import until

from chassis.health import Health
from chassis.telemetry import Telemetry
from worker_svc.settings import WorkerSettings
from worker_svc.worker import CHANGE_PAUSE_S, Worker


@pytest.mark.parametrize("away", [False, True], ids=["with Redis", "without Redis"])
async def test_changes_make_four_reports_a_second_and_only_one_while_redis_is_away(
    own_redis: RedisServer, *, away: bool
) -> None:
    """The room for reports in a time without Redis is for those about work."""
    loop = asyncio.get_running_loop()
    nowhere = dict.fromkeys(("rng_target", "hasher_target"), "ipv4:127.0.0.1:1")
    settings = WorkerSettings(redis_url=own_redis.url, instance="w", report_interval=60, **nowhere)
    worker = Worker(settings, Telemetry(Health()))
    worker._connected.set()
    tasks = [asyncio.create_task(work) for work in (worker.run(), worker.ledger.run())]
    try:
        await until(lambda: worker.ledger.accepting)
        if away:
            own_redis.stop()
        before, began = worker._tally._sequence, loop.time()
        while loop.time() < began + 1.2:
            worker._update_replicas()
            await asyncio.sleep(0.01)
        made = worker._tally._sequence - before
        assert (not away) <= made <= (1 if away else (loop.time() - began) / CHANGE_PAUSE_S + 2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await worker.ledger.close()
