import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator

MOST_PENDING = 8
"""Updates that wait for one browser; all browsers share their bytes. One further behind gets a snapshot instead."""

HEARTBEAT_EVERY = 15.0
"""Seconds of silence after which a heartbeat says that the connection is alive; proxies give up after 30 or more."""

HEARTBEAT = b": heartbeat\nevent: heartbeat\ndata: {}\n\n"
"""A comment for whoever reads along, and an event, for scripts never see comments."""


class Browser:
    """One open page, and what it is still to be told."""

    def __init__(self, snapshot: Callable[[], bytes]) -> None:
        self._snapshot = snapshot
        self._pending: deque[bytes] = deque()
        self._behind = True
        self._ended = False
        self._woken = asyncio.Event()

    async def next(self) -> bytes | None:
        """The next event for it, a snapshot at first; None when there will be no more."""
        while not self._ended:
            if self._behind:
                self._behind = False
                return self._snapshot()
            if self._pending:
                return self._pending.popleft()
            self._woken.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_EVERY):
                    await self._woken.wait()
            except TimeoutError:
                return HEARTBEAT
        return None

    def tell(self, update: bytes) -> None:
        """Send an update after those before it."""
        if len(self._pending) >= MOST_PENDING:
            self.start_afresh()
        elif not self._behind:
            self._pending.append(update)
            self._woken.set()

    def start_afresh(self) -> None:
        """Send a snapshot instead of what is pending."""
        self._pending.clear()
        self._behind = True
        self._woken.set()

    def end(self) -> None:
        """Send nothing more."""
        self._ended = True
        self._woken.set()


class Browsers:
    """All open pages. A snapshot tells all there is, an update what changed since the one before, if anything did."""

    def __init__(self, snapshot: Callable[[], bytes], update: Callable[[], bytes | None]) -> None:
        self._snapshot = snapshot
        self._update = update
        self._joined: set[Browser] = set()
        self._ended = False

    def __len__(self) -> int:
        return len(self._joined)

    @contextlib.contextmanager
    def join(self) -> Iterator[Browser]:
        """One more, for as long as the context lasts."""
        browser = Browser(self._snapshot)
        if self._ended:
            browser.end()
        self._joined.add(browser)
        try:
            yield browser
        finally:
            self._joined.discard(browser)

    def tell_changes(self) -> None:
        """Send to all what changed since the last time."""
        update = self._update()
        if update:
            for browser in self._joined:
                browser.tell(update)

    def start_afresh(self) -> None:
        """Send a snapshot to all."""
        for browser in self._joined:
            browser.start_afresh()

    def end(self) -> None:
        """Let all go, and whoever comes now."""
        self._ended = True
        for browser in self._joined:
            browser.end()
