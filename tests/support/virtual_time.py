"""Time that passes only where an event loop would wait for it, and then at once.

A test that waits for a thread or a socket sets no timeout of its own: virtual time would pass it before they are done.
"""

import asyncio
from selectors import DefaultSelector, SelectorKey


class _Clock(DefaultSelector):
    """Waits for no timer, but moves its time on by as much. Without a timer it waits, for sockets and threads."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None:
            return super().select()
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time starts at 0 and jumps to the next timer as soon as nothing else is left to do."""

    def __init__(self) -> None:
        self.clock = _Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        """Return the seconds that all timers so far have taken."""
        return self.clock.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - overrides
        """Wait for threads as long as they take: in virtual time any limit is over at once."""
        await super().shutdown_default_executor()


def freeze(seconds: float) -> None:
    """Let time pass in which the running event loop does nothing, as in a process that is stopped or blocked."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.clock.now += seconds


def now() -> float:
    """Return the running event loop's time."""
    return asyncio.get_running_loop().time()
