"""The dashboard's state, as a browser gets it from the page."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from chassis.listener import host_port

# Bytes of one line of an event.
_MAX_LINE_BYTES = 4 * 1024 * 1024

_RESPONSE_LIMIT_S = 2.0


class Page:
    """The page at an address of this machine, with the host name and the token that requests need there."""

    def __init__(self, host: str, port: int, allowed_host: str = "", token: str = "") -> None:
        self._host = host
        self._port = port
        address = host_port(host, port)
        self.url = f"http://{address}/"
        self._headers = f"Host: {allowed_host or address}\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")

    async def states(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the dashboard's state whenever it changes, until the page ends the stream or does not respond."""
        state: dict[str, Any] = {}
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            # The import of an HTTP client would take a fifth of the start.
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_LINE_BYTES)
            with contextlib.closing(writer):
                # Of an older version, so that a stream comes without the framing of chunks.
                writer.write(f"GET /events HTTP/1.0\r\n{self._headers}\r\n".encode())
                line = b"-"
                while line:
                    async with asyncio.timeout(None if state else _RESPONSE_LIMIT_S):
                        line = await reader.readline()
                    if line.startswith(b"data: {") and (changed := json.loads(line[6:])):
                        state |= changed
                        yield state

    async def state(self) -> dict[str, Any] | None:
        """Return the dashboard's state; None if the page does not respond."""
        async with contextlib.aclosing(self.states()) as states:
            return await anext(states, None)
