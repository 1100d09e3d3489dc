import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from chassis.telemetry.event_loop_lag import INTERVAL, EventLoopLag

pytestmark = pytest.mark.alone(reason="times are measured to hundredths of a second")


async def test_a_blocked_loop_is_seen() -> None:
    lag = EventLoopLag()
    registry = CollectorRegistry()
    registry.register(lag)

    def seen(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"dockercoins_event_loop_lag_seconds_{name}", labels) or 0.0

    looking = asyncio.create_task(lag.run())
    try:
        await asyncio.sleep(INTERVAL / 2)
        time.sleep(1.0)  # noqa: ASYNC251 - what must not be done, done on purpose
        async with asyncio.timeout(2):
            while not seen("count"):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    finally:
        looking.cancel()
    assert seen("sum") > 0.5
    assert seen("bucket", le="0.524288") == 0
