"""A clock that is never set, how late timers are, waits, and deadlines whose errors name what was late."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

# CLOCK_MONOTONIC stands still on Linux while the machine sleeps; on macOS it goes on and there is no other.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# See https://docs.kernel.org/scheduler/sched-stats.html.
_SCHEDULING = Path("/proc/thread-self/schedstat")

# The average time from the moment a timer is set for to the moment a client sees that something was done. epoll and
# kqueue are given whole milliseconds, rounded up, and an idle process wakes slowly (measured on Linux: 0.4 ms for the
# timer alone, 1.7 ms as seen by the client of an otherwise idle server). Waits end that much early.
TIMER_SLACK_S = 0.001

# A deadline that is later than this says more about this process than about what it waits for.
HELD_UP_S = 0.5


def steady_s() -> float:
    """Return the seconds of a clock that is never set and runs on while the machine sleeps; its origin is arbitrary."""
    return time.clock_gettime(_STEADY)


async def sleep_unless(event: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def thread_busy_s() -> float:
    """Return the seconds in which this thread ran or, where Linux counts that, waited for a CPU."""
    with contextlib.suppress(OSError, ValueError):
        ran_ns, waited_ns, _ = _SCHEDULING.read_text().split()
        return (int(ran_ns) + int(waited_ns)) / 1e9
    return time.thread_time()


@contextlib.asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Bound a block by a deadline.

    Raises TimeoutError with the message that there was no `what` within these seconds, and that this process was held
    up, if it was; an exception of the block passes unchanged, also a TimeoutError.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    limit = asyncio.timeout_at(due)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            late_s = loop.time() - due
            held_up = f"; this process itself was held up for {late_s:.1f} s" if late_s > HELD_UP_S else ""
            raise TimeoutError(f"no {what} within {seconds:g} s{held_up}") from None
        raise
