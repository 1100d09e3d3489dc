"""Waits that end on time, on average."""

import asyncio

# From the moment a timer is set for to the moment a client sees that something was done, on average: epoll and kqueue
# are given whole milliseconds, rounded up, and an idle process wakes slowly (measured on Linux: 0.4 ms for the timer
# alone, 1.7 ms as seen by the client of an otherwise idle server). Waits end that much early.
TIMER_SLACK_S = 0.001


async def sleep_until(deadline: float) -> None:
    """Sleep until the event loop's clock shows this, right on average."""
    delay = deadline - TIMER_SLACK_S - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)
