"""Waiting for what sends no event, with a bound that a busy machine does not reach, while other work goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

LIMIT_S = 30.0
PAUSE_S = 0.01


def wait_until(
    condition: Callable[[], object], limit_s: float = LIMIT_S, story: Callable[[], object] = lambda: ""
) -> float:
    """Wait until a condition holds, and return the seconds it took.

    Raises AssertionError with what the story says when it does not in time.
    """
    began = looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now - began < limit_s, f"not in time: {story()}"
        # A condition that runs a program takes half of a CPU at most.
        time.sleep(max(PAUSE_S, now - looked))
        looked = time.monotonic()
    return time.monotonic() - began


async def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> float:
    """Do the same while the event loop goes on; the condition may be a coroutine, and must not block for long."""
    began = time.monotonic()
    while not await _result(condition()):
        assert time.monotonic() - began < limit_s, "not in time"
        await asyncio.sleep(PAUSE_S)
    return time.monotonic() - began


async def _result(value: object) -> object:
    return await value if isawaitable(value) else value


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work for as long as the context lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
