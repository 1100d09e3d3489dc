"""The admin endpoint: `/healthz`, `/readyz` and `/metrics` over HTTP/1.1, for probes and Prometheus.

It does not use aiohttp, whose import takes half of the CPU of a service's start, nor Prometheus's own server, whose
threads would read what the event loop is changing. Each connection is for one request, whose body is not read.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

from prometheus_client.exposition import choose_encoder

from chassis import listener, log
from chassis.health import PROBES
from chassis.settings import ServiceSettings
from chassis.telemetry import Telemetry

# Prometheus and probes have one for milliseconds.
MAX_CONNECTIONS = 64

# Until a request is complete and its response is taken.
REQUEST_LIMIT_S = 30.0

# After the response, what the client still sends is discarded for this long: closing a connection with unread data
# resets it, and the client may lose the response.
LINGER_LIMIT_S = 1.0

# Prometheus sends 6 headers with 400 bytes in all.
MAX_HEAD_BYTES = 4_096

_TEXT = "text/plain; charset=utf-8"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - of HTTP
_HEAD = re.compile(rf"({_TOKEN}) ([^\s?]+)\S* HTTP/1\.[01]\r\n((?:{_TOKEN}:[^\r\n]*\r\n)*)\r\n")
_ACCEPT = re.compile(r"(?im)^accept:[ \t]*(.*?)[ \t]*$")

# Status, content type and body.
Response = tuple[HTTPStatus, str, bytes]


class _AdminEndpoint:
    """Serves connections, and makes room for each new one by closing the oldest."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        # The oldest first.
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._encoding = asyncio.Lock()

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection."""
        if len(self._open) >= MAX_CONNECTIONS:
            oldest, task = next(iter(self._open.items()))
            del self._open[oldest]
            # Not close(), which waits until the client has taken all that is written.
            oldest.transport.abort()
            task.cancel()
        self._open[writer] = asyncio.create_task(self._serve(reader, writer))

    async def close(self) -> None:
        """Close all connections."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # abort() closes the socket in the next turn of the event loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # OSError includes what a connection that breaks raises, and the end of the time that a request has.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with asyncio.timeout(REQUEST_LIMIT_S):
                    writer.write(await self._respond(reader))
                    writer.write_eof()
                    await writer.drain()
                async with asyncio.timeout(LINGER_LIMIT_S):
                    while await reader.read(MAX_HEAD_BYTES):
                        pass
        finally:
            writer.transport.abort()
            self._open.pop(writer, None)

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = _HEAD.fullmatch((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        except asyncio.LimitOverrunError:
            head = None
        if head is None:
            return _encode(HTTPStatus.BAD_REQUEST, _TEXT, b"bad request\n")
        method, path, headers = head.groups()
        status, content_type, body = await self._answer(method, path, headers)
        response = _encode(status, content_type, body)
        return response.removesuffix(body) if method == "HEAD" else response

    async def _answer(self, method: str, path: str, headers: str) -> Response:
        if path not in {"/metrics", *PROBES}:
            return HTTPStatus.NOT_FOUND, _TEXT, b"not found\n"
        if method not in {"GET", "HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"method not allowed\n"
        if path == "/metrics":
            accept = _ACCEPT.search(headers.replace("\r", ""))
            return await self._metrics("" if accept is None else accept[1])
        status, text = self._telemetry.health.probe(path)
        return status, _TEXT, text.encode()

    async def _metrics(self, accept: str) -> Response:
        logger = log.get()
        encode, content_type = choose_encoder(accept)
        # It takes some milliseconds. However many requests there are, the event loop runs between two of them.
        async with self._encoding:
            try:
                body: bytes = encode(self._telemetry.metrics)
            except Exception:
                logger.exception("metrics failed")
                return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"metrics failed\n"
            await asyncio.sleep(0)
        return HTTPStatus.OK, content_type, body


def _encode(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\nDate: {date}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + body


@contextlib.asynccontextmanager
async def serve(settings: ServiceSettings, telemetry: Telemetry) -> AsyncIterator[int]:
    """Serve on the port that is yielded, for as long as the context lasts.

    Raises ListenError or SettingsError where it can't listen.
    """
    endpoint = _AdminEndpoint(telemetry)
    with listener.listen(
        "METRICS_PORT", settings.bind_address, settings.metrics_port, settings.variable("bind_address")
    ) as listening:
        server = await asyncio.start_server(endpoint.connect, sock=listening, limit=MAX_HEAD_BYTES)
        try:
            yield listening.getsockname()[1]
        finally:
            # Not the server's own context, which from Python 3.12 on waits until all clients are gone.
            server.close()
            await endpoint.close()
