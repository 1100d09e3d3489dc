"""Browsers that only listen: each keeps one stream of events open, some without reading it."""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator

from bench.processes import BenchError

OPEN_LIMIT = 60.0
"""Seconds in which all streams must be open."""

AT_A_TIME = 100
"""Streams that are opened at once; a listener's backlog is 128."""

NOT_READING_BUFFER = 4_096
"""Bytes in the kernel for one that does not read."""

_REQUEST = b"GET /events HTTP/1.1\r\nHost: webui\r\n\r\n"
_HASHES = re.compile(rb'"hashes":([0-9]+)')


class Browser(asyncio.Protocol):
    """One stream, and when each count of hashes came."""

    def __init__(self, *, reading: bool) -> None:
        self.heard: list[tuple[float, int]] = []
        """Unix seconds, and hashes counted by then."""
        self.opened = asyncio.get_running_loop().create_future()
        self.lost = False
        self._reading = reading
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the events."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        """Note what is told."""
        if not self.opened.done():
            self.opened.set_result(data.startswith(b"HTTP/1.1 200"))
        if not self._reading and self._transport is not None:
            self._transport.pause_reading()
            return
        found = _HASHES.findall(data)
        if found:
            self.heard.append((time.time(), int(found[-1])))

    def connection_lost(self, _: Exception | None) -> None:
        """It was dropped, or we go."""
        self.lost = True
        if not self.opened.done():
            self.opened.set_result(False)

    def close(self) -> None:
        """Go."""
        if self._transport is not None:
            self._transport.abort()


@contextlib.asynccontextmanager
async def opened(port: int, count: int, *, reading: bool = True) -> AsyncIterator[list[Browser]]:
    """So many, all answered. Raises BenchError when one is not."""
    browsers: list[Browser] = []
    try:
        async with asyncio.timeout(OPEN_LIMIT):
            for first in range(0, count, AT_A_TIME):
                lot = [_open(port, reading=reading) for _ in range(min(AT_A_TIME, count - first))]
                browsers += await asyncio.gather(*lot)
                if not all(await asyncio.gather(*(browser.opened for browser in browsers[first:]))):
                    raise BenchError(f"a stream of {count} was not opened")
        yield browsers
    except TimeoutError:
        raise BenchError(f"{count} streams were not opened within {OPEN_LIMIT:.0f} s") from None
    finally:
        for browser in browsers:
            browser.close()


async def _open(port: int, *, reading: bool) -> Browser:
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    if not reading:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NOT_READING_BUFFER)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    _, browser = await loop.create_connection(lambda: Browser(reading=reading), sock=connection)
    return browser
