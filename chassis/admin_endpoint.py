"""The admin endpoint: `/healthz`, `/readyz` and `/metrics` over HTTP/1.1, for probes and Prometheus.

It does not use aiohttp, whose import takes half of the CPU of a service's start, nor Prometheus's own server, whose
threads would read what the event loop is changing. Requests are small and have no body; anything else is refused, and
ends its connection.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from chassis import listener, log
from chassis.health import PROBES
from chassis.settings import ServiceSettings
from chassis.telemetry import Telemetry

# Prometheus keeps one connection, a probe has one for milliseconds.
MAX_CONNECTIONS = 64

# Until a request is complete and its response is taken. Prometheus sends one every 5 to 15 s.
REQUEST_LIMIT_S = 30.0

# After the last response, what the client still sends is discarded for this long: closing a connection with unread
# data resets it, and the client may lose the response.
LINGER_LIMIT_S = 1.0

# Prometheus sends 6 headers with 400 bytes in all.
MAX_HEAD_BYTES = 4_096
MAX_HEADERS = 32

_TEXT = "text/plain; charset=utf-8"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) (\S+) HTTP/1\.([01])" % _TOKEN)
_HEADER = re.compile(rb"(%s):[ \t]*(.*?)[ \t]*" % _TOKEN, re.DOTALL)


class _Request(NamedTuple):
    method: str
    path: str
    accept: str
    # Whether the connection ends with the response.
    last: bool

    @classmethod
    def parse(cls, head: bytes) -> "_Request":
        """Read a head with its empty line. Raises ValueError for one that is not HTTP/1, or has too many headers."""
        first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        request = _REQUEST_LINE.fullmatch(first)
        fields = [_HEADER.fullmatch(line) for line in lines]
        if request is None or None in fields or len(fields) > MAX_HEADERS:
            raise ValueError
        method, target, minor = request.groups()
        headers = {field[1].lower(): field[2] for field in fields if field}
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        last = has_body or minor == b"0" or b"close" in headers.get(b"connection", b"").lower()
        path = target.partition(b"?")[0].decode("latin-1")
        return cls(method.decode(), path, headers.get(b"accept", b"").decode("latin-1"), last)


class _AdminEndpoint(Collector):
    """Serves connections, and makes room for each new one by closing the oldest."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        # The oldest first.
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._closed = 0
        self._encoding = asyncio.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the endpoint's metrics."""
        yield CounterMetricFamily(
            "dockercoins_closed_admin_connections",
            "Connections to the endpoint of health and metrics that were closed to make room for newer ones",
            self._closed,
        )

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection."""
        if len(self._open) >= MAX_CONNECTIONS:
            oldest, task = next(iter(self._open.items()))
            self._closed += 1
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
                last = False
                while not last:
                    async with asyncio.timeout(REQUEST_LIMIT_S):
                        last = await self._serve_request(reader, writer)
                    # Requests that have already arrived would be served without a pause.
                    await asyncio.sleep(0)
                writer.write_eof()
                async with asyncio.timeout(LINGER_LIMIT_S):
                    while await reader.read(MAX_HEAD_BYTES):
                        pass
        finally:
            writer.transport.abort()
            self._open.pop(writer, None)

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve the next request; return whether it was the last of the connection."""
        try:
            request = _Request.parse(await reader.readuntil(b"\r\n\r\n"))
        except (ValueError, asyncio.LimitOverrunError):
            writer.write(_response(HTTPStatus.BAD_REQUEST, _TEXT, b"bad request\n", last=True))
            last = True
        else:
            status, content_type, body = await self._answer(request)
            response = _response(status, content_type, body, last=request.last)
            writer.write(response.removesuffix(body) if request.method == "HEAD" else response)
            last = request.last
        await writer.drain()
        return last

    async def _answer(self, request: _Request) -> tuple[HTTPStatus, str, bytes]:
        if request.path not in {"/metrics", *PROBES}:
            return HTTPStatus.NOT_FOUND, _TEXT, b"not found\n"
        if request.method not in {"GET", "HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"method not allowed\n"
        if request.path == "/metrics":
            return await self._metrics(request.accept)
        status, text = self._telemetry.health.probe(request.path)
        return status, _TEXT, text.encode()

    async def _metrics(self, accept: str) -> tuple[HTTPStatus, str, bytes]:
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


def _response(status: HTTPStatus, content_type: str, body: bytes, *, last: bool) -> bytes:
    headers: Mapping[str, object] = {
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        "Content-Type": content_type,
        "Content-Length": len(body),
        **({"Allow": "GET, HEAD"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}),
        **({"Connection": "close"} if last else {}),
    }
    lines = (f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", "")
    return "\r\n".join(lines).encode() + body


@contextlib.asynccontextmanager
async def serve(settings: ServiceSettings, telemetry: Telemetry) -> AsyncIterator[int]:
    """Serve on the port that is yielded, for as long as the context lasts.

    Raises ListenError or SettingsError where it can't listen.
    """
    endpoint = _AdminEndpoint(telemetry)
    telemetry.metrics.register(endpoint)
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
