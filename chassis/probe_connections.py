"""The connections to the endpoint of health and metrics: few, and never so many that a probe does not get in."""

import asyncio
from collections.abc import Iterator

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_CONNECTIONS = 64
"""Open at the same time. Prometheus keeps one, a probe has one for milliseconds."""

KEEPALIVE = 30.0
"""Seconds until one that asks nothing is closed, and one whose first request is not complete: Prometheus asks every 5 s
and may every 15 s."""

LINGERING = 1.0
"""Seconds in which a body that nobody asked for is thrown away, before the connection is closed."""

MAX_HEADERS = 32
MAX_HEADER_SIZE = 2_048
"""Bytes. A request with more is refused with 400; Prometheus has 6 headers with 400 bytes in all."""

BUFFER_SIZE = 4_096
"""Bytes that are read ahead of a connection."""


def runner(app: web.Application) -> web.AppRunner:
    """It takes small requests alone."""
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=0.1,
        keepalive_timeout=KEEPALIVE,
        lingering_time=LINGERING,
        max_headers=MAX_HEADERS,
        max_line_size=MAX_HEADER_SIZE,
        max_field_size=MAX_HEADER_SIZE,
        read_bufsize=BUFFER_SIZE,
    )


class ProbeConnections(Collector):
    """Makes room for each new one by closing the oldest."""

    def __init__(self, server: web.Server) -> None:
        """Those of a runner's server."""
        self._server = server
        self._closed = 0

    def __call__(self) -> RequestHandler:
        """What serves one more connection."""
        handlers = self._server.connections
        for oldest in handlers[: len(handlers) - MAX_CONNECTIONS + 1]:
            # Not close(), which waits until the client has taken all that is written.
            if isinstance(transport := oldest.transport, asyncio.WriteTransport):
                self._closed += 1
                transport.abort()
        return self._server()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield CounterMetricFamily(
            "dockercoins_closed_probe_connections",
            "Connections to the endpoint of health and metrics that had to make room for newer ones",
            self._closed,
        )
