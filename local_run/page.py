"""The page as its clients see it: whether it responds, and the dashboard's state."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

# Bytes of one line of an event.
_MAX_LINE_BYTES = 4 * 1024 * 1024

_RESPONSE_LIMIT_S = 2.0
_RETRY_INTERVAL_S = 0.1


class Page:
    """The page at an address of this machine, with the host name and the token that requests need there."""

    def __init__(self, host: str, port: int, allowed_host: str = "", token: str = "") -> None:
        self._host = host
        self._port = port
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{port}/"
        self._headers = f"Host: {allowed_host or shown}\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")

    async def wait_until_ready(self) -> None:
        """Wait until the page is ready. It is not ready while Redis is unavailable."""
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_RESPONSE_LIMIT_S), self._get("/readyz") as reader:
                    status = await reader.readline()
                # With a token, or for other hosts, the page refuses this request, and so it is there.
                if status and b" 503 " not in status:
                    return
            await asyncio.sleep(_RETRY_INTERVAL_S)

    async def states(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the dashboard's state whenever it changes, until the page ends the stream.

        Raises OSError without the page, and TimeoutError if it does not respond.
        """
        state: dict[str, Any] = {}
        async with self._get("/events") as reader:
            async with asyncio.timeout(_RESPONSE_LIMIT_S):
                status = await reader.readline()
            if b" 200 " not in status:
                raise ConnectionError(status.decode(errors="replace").strip())
            while line := await reader.readline():
                if line.startswith(b"data: {") and (changed := json.loads(line[6:])):
                    state |= changed
                    yield state

    @contextlib.asynccontextmanager
    async def _get(self, path: str) -> AsyncIterator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_LINE_BYTES)
        try:
            # Of an older version, so that a stream comes without the framing of chunks.
            writer.write(f"GET {path} HTTP/1.0\r\n{self._headers}\r\n".encode())
            yield reader
        finally:
            writer.close()
