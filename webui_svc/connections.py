"""The connections of browsers: limited in all and per address, each with small requests that come in time."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from webui_svc.settings import MAX_STREAMS
from webui_svc.sse import WRITE_LIMIT_S

# Connections that are open at the same time: streams, and those that fetch the page and its files.
MAX_CONNECTIONS = MAX_STREAMS + 1_000

# Connections of one address beyond the streams that it may have. A browser has six at most, most of the time one.
BESIDE_STREAMS = 250

# Files that the process may open beyond the connections: probes, Redis and the files of the page.
OTHER_FILES = 200

# What aiohttp is given for each connection.
LIMITS: dict[str, Any] = {
    # The seconds after which a connection without a request is closed, and one whose request does not become complete.
    "keepalive_timeout": 30.0,
    # The seconds in which an unwanted body is thrown away, before the connection is closed.
    "lingering_time": 1.0,
    # The bytes are those of one header, and of the first line. Cookies of other services on the same host come along.
    "max_headers": 64,
    "max_field_size": 8_190,
    "max_line_size": 8_190,
    # Bytes that are read ahead.
    "read_bufsize": 16 * 1024,
}

# The time between two searches for connections that take nothing of what is sent.
SWEEP_INTERVAL_S = 5.0

SECURITY = {
    # Everything comes from here, nothing is inline, and the page can't be put into a frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class _Handler(RequestHandler):
    def handle_error(self, *args: Any, **kwargs: Any) -> web.StreamResponse:
        """Add the headers of other responses to the response to an invalid request."""
        response = super().handle_error(*args, **kwargs)
        response.headers.update(SECURITY)
        response.headers["Server"] = "webui"  # instead of all versions
        return response


class Connections(Collector):
    """Makes room for each new connection by closing the oldest, of the same address if that has too many."""

    def __init__(self, server: web.Server, max_per_address: int) -> None:
        """Manage the connections of a runner's server."""
        self._server = server
        self._max_per_address = max_per_address
        self._loop = asyncio.get_running_loop()
        self._unsent: dict[RequestHandler, tuple[int, float]] = {}
        self._closed: Counter[str] = Counter(address=0, all=0, slow=0)

    def __call__(self) -> RequestHandler:
        """Return the protocol of one more connection."""
        if len(self._server.connections) >= MAX_CONNECTIONS:
            self._close(self._server.connections[0], "all")
        # The type of access_log has no None, which stands for no log.
        return _Handler(self._server, loop=self._loop, access_log=None, **LIMITS)  # type: ignore[arg-type]

    async def run(self) -> None:
        """Close those that are too many of an address, and those that take nothing, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self._close_crowds()
            self._close_slow()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics for Prometheus."""
        yield GaugeMetricFamily(
            "dockercoins_webui_connections", "Connections that are open", len(self._server.connections)
        )
        closed = CounterMetricFamily(
            "dockercoins_webui_closed_connections",
            "Connections closed on browsers: too many of one `address` or of `all`, or nothing taken for 30 s (`slow`)",
            labels=["bound"],
        )
        for bound, connections in self._closed.items():
            closed.add_metric([bound], connections)
        yield closed

    def _close_crowds(self) -> None:
        if len(self._server.connections) <= self._max_per_address:
            return
        of_address: dict[str, list[RequestHandler]] = {}
        for each in self._server.connections:
            peer = each.transport.get_extra_info("peername") if each.transport else None
            of_address.setdefault(str(peer[0]) if peer else "", []).append(each)
        for connections in of_address.values():
            for oldest in connections[: -self._max_per_address]:
                self._close(oldest, "address")

    def _close_slow(self) -> None:
        unsent, now = {}, self._loop.time()
        for each in self._server.connections:
            if isinstance(each.transport, asyncio.WriteTransport) and (size := each.transport.get_write_buffer_size()):
                before, since = self._unsent.get(each, (0, now))
                unsent[each] = (size, since if size == before else now)
                if now - unsent[each][1] >= WRITE_LIMIT_S:
                    self._close(each, "slow")
        self._unsent = unsent

    def _close(self, connection: RequestHandler, bound: str) -> None:
        # Not close(), which waits until the client has taken all that is written.
        if isinstance(transport := connection.transport, asyncio.WriteTransport):
            self._closed[bound] += 1
            transport.abort()


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files and connections as far as allowed; it is often 1,024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
