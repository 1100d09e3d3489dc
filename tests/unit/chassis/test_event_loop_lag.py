import asyncio

from prometheus_client import CollectorRegistry
from support.virtual_time import freeze

from chassis.telemetry.event_loop_lag import INTERVAL, EventLoopLag


async def test_a_blocked_loop_is_seen() -> None:
    lag = EventLoopLag()
    registry = CollectorRegistry()
    registry.register(lag)
    looking = asyncio.create_task(lag.run())
    await asyncio.sleep(INTERVAL / 2)
    freeze(1.0)
    await asyncio.sleep(INTERVAL / 2)
    looking.cancel()
    assert registry.get_sample_value("dockercoins_event_loop_lag_seconds_count") == 1
    assert registry.get_sample_value("dockercoins_event_loop_lag_seconds_sum") == 0.75
