"""The connections of browsers: so many in all and from one address, each with small requests that come in time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from webui_svc.events import MOST_STREAMS, WRITE_LIMIT
from webui_svc.headers import SECURITY

MOST = MOST_STREAMS + 1_000
"""Open at the same time: streams, and those that ask for the page and its files."""

BESIDE_STREAMS = 250
"""Connections of one address beyond the streams that it may have. A browser has six at most, most of the time one."""

KEEPALIVE = 30.0
"""Seconds until one that asks nothing is closed, and one whose request does not become complete."""

LINGERING = 1.0
"""Seconds in which a body that nobody asked for is thrown away, before the connection is closed."""

MAX_HEADERS = 64
MAX_HEADER_SIZE = 8_190
"""Bytes of a header, and of the line before all of them. Cookies of other services on the same host come along."""

BUFFER_SIZE = 16 * 1024
"""Bytes that are read ahead of a connection."""

SWEEP_INTERVAL = 5.0
"""Seconds between two looks at who takes nothing of what is sent."""


class _Handler(RequestHandler):
    def handle_error(self, *args: Any, **kwargs: Any) -> web.StreamResponse:
        """What is no request at all gets the headers of other responses, too."""
        response = super().handle_error(*args, **kwargs)
        response.headers.update(SECURITY)
        response.headers["Server"] = "webui"  # instead of all versions
        return response


class Connections(Collector):
    """Makes room for each new connection by closing the oldest, of the same address if that has too many."""

    def __init__(self, server: web.Server, most_of_an_address: int) -> None:
        """Those of a runner's server."""
        self._server = server
        self._most_of_an_address = most_of_an_address
        self._loop = asyncio.get_running_loop()
        self._unsent: dict[RequestHandler, tuple[int, float]] = {}
        self._closed: Counter[str] = Counter(address=0, all=0, slow=0)

    def __call__(self) -> RequestHandler:
        """What serves one more connection."""
        if len(self._server.connections) >= MOST:
            self._close(self._server.connections[0], "all")
        return _Handler(
            self._server,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type] # its type has no None, which stands for no log
            keepalive_timeout=KEEPALIVE,
            lingering_time=LINGERING,
            max_headers=MAX_HEADERS,
            max_line_size=MAX_HEADER_SIZE,
            max_field_size=MAX_HEADER_SIZE,
            read_bufsize=BUFFER_SIZE,
        )

    async def run(self) -> None:
        """Close those that are too many of an address, and those that take nothing, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            self._close_crowds()
            self._close_slow()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
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
        if len(self._server.connections) <= self._most_of_an_address:
            return
        of_address: dict[str, list[RequestHandler]] = {}
        for each in self._server.connections:
            of_address.setdefault(address(each.transport), []).append(each)
        for connections in of_address.values():
            for oldest in connections[: -self._most_of_an_address]:
                self._close(oldest, "address")

    def _close_slow(self) -> None:
        unsent, now = {}, self._loop.time()
        for each in self._server.connections:
            if isinstance(each.transport, asyncio.WriteTransport) and (size := each.transport.get_write_buffer_size()):
                before, since = self._unsent.get(each, (0, now))
                unsent[each] = (size, since if size == before else now)
                if now - unsent[each][1] >= WRITE_LIMIT:
                    self._close(each, "slow")
        self._unsent = unsent

    def _close(self, connection: RequestHandler, bound: str) -> None:
        # Not close(), which waits until the client has taken all that is written.
        if isinstance(transport := connection.transport, asyncio.WriteTransport):
            self._closed[bound] += 1
            transport.abort()


def address(transport: asyncio.BaseTransport | None) -> str:
    """Whose connection it is: an IP address, or nothing when it is gone."""
    peer = None if transport is None else transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
