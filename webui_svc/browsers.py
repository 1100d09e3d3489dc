import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from webui_svc.past import Past

MOST_BEHIND = 8
"""Updates that wait for one browser. One further behind gets a snapshot instead, unless it comes back for them."""

SNAPSHOT_KEPT = 0.25
"""Seconds that a snapshot is good for: a thousand browsers that come together share its bytes."""

HEARTBEAT_EVERY = 15.0
"""Seconds of silence after which a heartbeat says that the connection is alive; proxies give up after 30 or more."""

HEARTBEAT = b": heartbeat\nevent: heartbeat\ndata: {}\n\n"
"""A comment for whoever reads along, and an event, for scripts never see comments."""


class Browser:
    """One open page, and the number of the update that it knows."""

    def __init__(self, past: Past, snapshot: Callable[[], bytes], known: int | None) -> None:
        self._past = past
        self._snapshot = snapshot
        self._known = known
        self._allowed = past.last if known is None else past.last - known + MOST_BEHIND
        self._ended = False
        self._woken = asyncio.Event()

    async def next(self) -> bytes | None:
        """What is new for it, a snapshot if it knows nothing that leads there; None when there will be no more."""
        while not self._ended:
            if self._known != self._past.last:
                return self._news()
            self._woken.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_EVERY):
                    await self._woken.wait()
            except TimeoutError:
                return HEARTBEAT
        return None

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    def end(self) -> None:
        """Send nothing more."""
        self._ended = True
        self._woken.set()

    def _news(self) -> bytes:
        known, self._known = self._known, self._past.last
        allowed, self._allowed = self._allowed, MOST_BEHIND
        if known is not None and self._past.last - known <= allowed:
            updates = self._past.since(known)
            if updates is not None:
                return updates
        return self._snapshot()


class Browsers:
    """All open pages. A snapshot tells all there is, an update what changed since the one before, if anything did."""

    def __init__(self, snapshot: Callable[[], bytes], update: Callable[[], bytes | None]) -> None:
        self._make_snapshot = snapshot
        self._update = update
        self._past = Past()
        self._joined: set[Browser] = set()
        self._of_client: Counter[str] = Counter()
        self.dropped = 0
        """Those that were let go because they took nothing any more; one that went by itself is none of them."""
        self.refused = 0
        """Those that were too many."""
        self._ended = False
        self._snapshot = b""
        self._snapshot_of = -1
        self._snapshot_until = 0.0

    def __len__(self) -> int:
        return len(self._joined)

    def of_client(self, client: str) -> int:
        """How many this address has open."""
        return self._of_client[client]

    @contextlib.contextmanager
    def join(self, last_event_id: str | None = None, *, client: str = "") -> Iterator[Browser]:
        """One more, of this address, for as long as the context lasts.

        It gets what came after this event, if that is still known.
        """
        browser = Browser(self._past, self._current_snapshot, self._past.number(last_event_id))
        if self._ended:
            browser.end()
        self._joined.add(browser)
        self._of_client[client] += 1
        try:
            yield browser
        finally:
            self._joined.discard(browser)
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    def tell_changes(self) -> None:
        """Send to all what changed since the last time."""
        update = self._update()
        if update:
            self._past.add(update)
            self._wake()

    def start_afresh(self) -> None:
        """Send a snapshot to all."""
        self._past.forget()
        self._wake()

    def end(self) -> None:
        """Let all go, and whoever comes now."""
        self._ended = True
        for browser in self._joined:
            browser.end()

    def _wake(self) -> None:
        for browser in self._joined:
            browser.wake()

    def _current_snapshot(self) -> bytes:
        clock = time.monotonic()
        if self._snapshot_of != self._past.last or clock > self._snapshot_until:
            self._snapshot = self._past.identified(self._make_snapshot())
            self._snapshot_of = self._past.last
            self._snapshot_until = clock + SNAPSHOT_KEPT
        return self._snapshot
