"""Runs a service's self-test periodically; the service is not ready while the test fails."""

import asyncio
from collections.abc import Awaitable, Callable

from chassis import log
from chassis.health import Health

# The condition of health that it sets.
CONDITION = "self-test"

# A test takes microseconds, so it may run every second.
INTERVAL_S = 1.0


async def keep_testing(health: Health, test: Callable[[], Awaitable[bool]]) -> None:
    """Run the test every second, and set the condition to its result. A test that raises has failed."""
    logger = log.get()
    passed = True
    while True:
        before = passed
        try:
            passed = await test()
        except Exception:
            passed = False
            if before:
                logger.exception("self-test raised")
        health.set(CONDITION, met=passed)
        if before and not passed:
            logger.error("self-test failed, no longer ready")
        elif passed and not before:
            logger.info("self-test passed again")
        await asyncio.sleep(INTERVAL_S)
