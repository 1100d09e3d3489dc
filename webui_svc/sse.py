"""Server-sent events: a `snapshot`, then an `update` for each change.

All browsers share the bytes of an event. A browser whose connection was lost names the event that was its last, and
gets what it missed from the replay buffer.
"""

import asyncio
import contextlib
import re
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable

from aiohttp import web

from webui_svc.settings import MAX_STREAMS

# The time after which a client that was refused may try again.
RETRY_AFTER_S = 5

# The first line of a stream: the milliseconds after which it comes again when its connection is lost.
RETRY = b"retry: 1000\n\n"

# A browser that takes no byte for this time loses its connection.
WRITE_LIMIT_S = 30.0

# Bytes that wait here for a browser that does not read, beside the event that it is being sent, and bytes that wait in
# the kernel, which would take megabytes.
BUFFER_BYTES = 16 * 1024
KERNEL_BUFFER_BYTES = 64 * 1024

# Updates that wait for one browser. One further behind gets a snapshot instead, unless it comes back for them.
MAX_BEHIND = 8

# Updates that are kept, at least a minute of them, and their bytes.
MAX_REPLAYED = 240
MAX_REPLAYED_BYTES = 2 * 1024 * 1024

# How long a snapshot can be used: a thousand browsers that come together share its bytes.
SNAPSHOT_KEPT_S = 0.25

# After this time without an event, a heartbeat shows that the connection is alive; proxies give up after 30 s or more.
HEARTBEAT_EVERY_S = 15.0

# A comment for people who read along, and an event, for scripts never see comments.
HEARTBEAT = b": heartbeat\nevent: heartbeat\ndata: {}\n\n"

_ID = re.compile(r"([0-9a-f]{16})-([0-9]{1,15})")

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # nginx would hold events back until it has a buffer full
}


class ReplayBuffer:
    """The latest updates under numbers that count up."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(8)  # the same number means something else in another process
        self._updates: deque[bytes] = deque()
        self._bytes = 0
        # The newest update's number.
        self.last = 0

    def add(self, update: bytes) -> None:
        """Add an update."""
        self.last += 1
        update = self.identified(update)
        self._updates.append(update)
        self._bytes += len(update)
        while len(self._updates) > MAX_REPLAYED or self._bytes > MAX_REPLAYED_BYTES:
            self._bytes -= len(self._updates.popleft())

    def since(self, number: int) -> bytes | None:
        """Return all updates after one; None when not all are kept, or there was none of that number."""
        missing = self.last - number
        if not 0 <= missing <= len(self._updates):
            return None
        if missing == 1:
            return self._updates[-1]
        return b"".join(list(self._updates)[len(self._updates) - missing :])

    def clear(self) -> None:
        """Keep none, so that all browsers need a snapshot."""
        self.last += 1
        self._updates.clear()
        self._bytes = 0

    def identified(self, event: bytes) -> bytes:
        """Return an event with the id of the newest update, which it contains."""
        return b"id: %b-%d\n%b" % (self._process.encode(), self.last, event)

    def number(self, event_id: str | None) -> int | None:
        """Return the number of an update of this process by its id, as a browser has it; None for any other."""
        match = _ID.fullmatch(event_id or "")
        return int(match[2]) if match and match[1] == self._process else None


class Browsers:
    """All open pages. An update contains what changed since the one before, if anything did."""

    def __init__(
        self, snapshot: Callable[[], bytes], update: Callable[[], bytes | None], streams_per_client: int = MAX_STREAMS
    ) -> None:
        self._make_snapshot = snapshot
        self._update = update
        self._streams_per_client = streams_per_client
        self._buffer = ReplayBuffer()
        self._of_client: Counter[str] = Counter()
        # Streams that were cut because the browser took nothing any more, and that were refused because of too many.
        self.dropped = 0
        self.refused = 0
        self._news = asyncio.Event()  # set, and replaced by a new one, with each update
        self._ended = False
        self._snapshot = b""
        self._snapshot_of = -1
        self._snapshot_until = 0.0

    def __len__(self) -> int:
        return self._of_client.total()

    async def events(self, last_event_id: str | None = None) -> AsyncGenerator[bytes]:
        """Yield what is new for one browser: what came after this event if it is kept, otherwise first a snapshot."""
        known = self._buffer.number(last_event_id)
        allowed = MAX_REPLAYED  # one that comes back may have missed more
        while not self._ended:
            if known == self._buffer.last:
                try:
                    async with asyncio.timeout(HEARTBEAT_EVERY_S):
                        await self._news.wait()
                except TimeoutError:
                    yield HEARTBEAT
                continue
            is_near = known is not None and self._buffer.last - known <= allowed
            updates = self._buffer.since(known) if known is not None and is_near else None
            known, allowed = self._buffer.last, MAX_BEHIND
            yield self._current_snapshot() if updates is None else updates

    def publish(self) -> None:
        """Send what changed since the last time to all."""
        if update := self._update():
            self._buffer.add(update)
            self._wake()

    def reset(self) -> None:
        """Send a snapshot to all."""
        self._buffer.clear()
        self._wake()

    async def end(self, _: web.Application) -> None:
        """End all streams, also those that begin later, so that none holds up stopping."""
        self._ended = True
        self._wake()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send events until the browser leaves or the process stops; 503 or 429 while there are too many streams."""
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        client = request.remote or ""
        if len(self) >= MAX_STREAMS:
            return self._refuse(503, f"{MAX_STREAMS} pages are open already, and no more are served")
        if self._of_client[client] >= (most := self._streams_per_client):
            return self._refuse(429, f"{most} pages are open at your address already (STREAMS_PER_CLIENT)")
        response = web.StreamResponse(headers=_HEADERS)
        self._of_client[client] += 1
        try:
            _limit_buffers(request.transport)
            await self._send(response, request)
        except (ConnectionError, TimeoutError) as error:
            self.dropped += isinstance(error, TimeoutError)
            if request.transport:
                request.transport.abort()  # it takes nothing any more, not even the end
        finally:
            self._of_client -= Counter((client,))
        return response

    async def _send(self, response: web.StreamResponse, request: web.Request) -> None:
        writer = await response.prepare(request)
        if writer is None:
            return
        async with contextlib.aclosing(self.events(request.headers.get("Last-Event-ID"))) as events:
            await writer.write(RETRY)
            async for event in events:
                async with asyncio.timeout(WRITE_LIMIT_S):
                    await writer.write(event)
                    await writer.drain()

    def _refuse(self, status: int, reason: str) -> web.Response:
        self.refused += 1
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return web.Response(status=status, headers=headers, text=f"{reason}; try again later.\n")

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _current_snapshot(self) -> bytes:
        clock = time.monotonic()
        if self._snapshot_of != self._buffer.last or clock > self._snapshot_until:
            self._snapshot = self._buffer.identified(self._make_snapshot())
            self._snapshot_of = self._buffer.last
            self._snapshot_until = clock + SNAPSHOT_KEPT_S
        return self._snapshot


BROWSERS = web.AppKey("browsers", Browsers)


def _limit_buffers(transport: asyncio.BaseTransport | None) -> None:
    """Hold a browser that does not read up where it is, so that it costs little and gets what is new when it does."""
    if isinstance(transport, asyncio.WriteTransport):
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        if connection := transport.get_extra_info("socket"):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
