"""A service's check of itself: it is not ready while it would give wrong answers."""

import asyncio
from collections.abc import Awaitable, Callable

from chassis import log
from chassis.health import Health

CONDITION = "self-check"
"""Its name among the conditions of health."""

INTERVAL = 1.0
"""Seconds between two checks; one takes microseconds."""


async def keep_checking(health: Health, check: Callable[[], Awaitable[bool]]) -> None:
    """Keep the condition true to the check, until cancelled. A check that raises has failed."""
    logger = log.get()
    passed = True
    while True:
        before = passed
        try:
            passed = await check()
        except Exception:
            passed = False
            if before:
                logger.exception("self-check raised")
        health.set(CONDITION, met=passed)
        if before and not passed:
            logger.error("self-check failed, no longer ready")
        elif passed and not before:
            logger.info("self-check passed again")
        await asyncio.sleep(INTERVAL)
