"""The web application: routes, traces and metrics of the page."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis import log
from chassis.health import PROBES, Health
from chassis.redis.settings import RedisAccess
from chassis.telemetry import Telemetry
from webui_svc.access import Access
from webui_svc.api import Api
from webui_svc.connections import SECURITY
from webui_svc.redis_reader import RedisReader, open_reader_client
from webui_svc.sse import BROWSERS, Browsers
from webui_svc.state import DashboardState
from webui_svc.static_files import StaticFiles

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Span, Tracing

STATIC = Path(__file__).parent / "static"

# The paths whose requests have spans; files have none.
TRACED = frozenset(("/", "/json", "/events", "/api/history", "/api/load-tests"))


def make_app(
    redis: RedisAccess, telemetry: Telemetry, instance: str, access: Access, streams_per_client: int
) -> web.Application:
    """Return the application, which follows Redis from its start to its cleanup."""
    state = DashboardState(redis.name, instance)
    browsers = Browsers(state.snapshot, state.update, streams_per_client)
    files = StaticFiles(STATIC)
    api = Api(state)

    async def follow_redis(_: web.Application) -> AsyncIterator[None]:
        if not (STATIC / "vendor" / "uplot").is_dir():
            log.get().warning("the chart library was not fetched, the page shows no graph")
        async with open_reader_client(redis) as client:
            reader = RedisReader(client, redis.keys, state, browsers, telemetry.health)
            telemetry.metrics.register(_Metrics(browsers, state, reader))
            following = asyncio.create_task(reader.run())
            yield
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    app = web.Application(middlewares=[access.check])
    app[BROWSERS] = browsers
    for path in PROBES:
        app.router.add_get(path, partial(_probe, path, telemetry.health))
    app.router.add_get("/", files.index)
    app.router.add_get("/tutorial", files.tutorial)
    app.router.add_get("/json", api.counts)
    app.router.add_get("/api/history", api.history)
    app.router.add_get("/api/load-tests", api.load_tests)
    app.router.add_get("/events", browsers.serve)
    app.router.add_get("/static/{path:.+}", files.file)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(browsers.end)
    app.cleanup_ctx.append(follow_redis)
    if telemetry.tracing is not None:
        _trace(app, telemetry.tracing)
    return app


async def _probe(path: str, health: Health, _: web.Request) -> web.Response:
    status, text = health.probe(path)
    return web.Response(status=status, text=text)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in {**SECURITY, "Cache-Control": "no-store"}.items():
        response.headers.setdefault(name, value)
    response.headers.popall("Server", None)  # it has all versions


def _trace(app: web.Application, tracing: "Tracing") -> None:
    """Make spans of the requests.

    A span ends when the first byte of the response is to be sent: a stream of events goes on for hours after that.
    """
    spans: web.RequestKey[Span] = web.RequestKey("span")

    @web.middleware
    async def begin(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else ""
        if route not in TRACED:
            return await handler(request)
        attributes = {"http.request.method": request.method, "http.route": route, "url.path": request.path}
        request[spans] = tracing.serve(request.headers.get("traceparent", ""), f"{request.method} {route}", attributes)
        return await handler(request)

    async def end(request: web.Request, response: web.StreamResponse) -> None:
        span = request.get(spans)
        if span is None:
            return
        span.attributes["http.response.status_code"] = response.status
        span.end(f"{response.status}" if response.status >= 500 else "")

    app.middlewares.append(begin)
    app.on_response_prepare.append(end)


class _Metrics(Collector):
    """The metrics of browsers and of what is read from Redis."""

    def __init__(self, browsers: Browsers, state: DashboardState, reader: RedisReader) -> None:
        self._browsers = browsers
        self._state = state
        self._reader = reader

    def collect(self) -> Iterator[Metric]:
        """Return the metrics for Prometheus."""
        yield GaugeMetricFamily("dockercoins_webui_streams", "Streams of events that are open", len(self._browsers))
        yield CounterMetricFamily(
            "dockercoins_webui_streams_dropped",
            "Streams that were cut because the browser took nothing for 30 s",
            self._browsers.dropped,
        )
        yield CounterMetricFamily(
            "dockercoins_webui_streams_refused",
            "Streams that were refused because 1,500 were open, or STREAMS_PER_CLIENT at one address",
            self._browsers.refused,
        )
        lag = HistogramMetricFamily(
            "dockercoins_webui_lag_seconds", "Seconds from writing a report to Redis to publishing it to browsers"
        )
        lag.add_metric((), list(self._reader.lag.cumulative()), self._reader.lag.seconds)
        yield lag
        yield GaugeMetricFamily("dockercoins_webui_redis", "1 while Redis is reachable", self._state.redis_available)
        yield CounterMetricFamily(
            "dockercoins_webui_malformed_entries",
            "Entries of Redis that were skipped because they are malformed",
            self._reader.malformed.times,
        )
