import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry

from chassis import log
from chassis.redis.settings import RedisAccess
from chassis.telemetry import Telemetry
from webui_svc import feed, health_http
from webui_svc.access import ANYBODY, Access
from webui_svc.board import Board
from webui_svc.browsers import Browsers
from webui_svc.events import BROWSERS, MOST_STREAMS, STREAMS_PER_CLIENT, end_events, events
from webui_svc.headers import add_headers
from webui_svc.history import BOARD, counts, history, load_tests
from webui_svc.metrics import WebuiMetrics
from webui_svc.static_files import StaticFiles

STATIC = Path(__file__).parent / "static"

REDIS = web.AppKey("redis", RedisAccess)
FILES = web.AppKey("files", StaticFiles)
METRICS = web.AppKey("metrics", CollectorRegistry)


def make_app(
    redis: RedisAccess,
    telemetry: Telemetry,
    instance: str,
    access: Access = ANYBODY,
    streams_per_client: int = MOST_STREAMS,
) -> web.Application:
    """The application, which follows Redis from its start to its cleanup, and what it calls itself."""
    app = web.Application(middlewares=[access.check])
    app[STREAMS_PER_CLIENT] = streams_per_client
    app[REDIS] = redis
    app[FILES] = StaticFiles(STATIC)
    app[METRICS] = telemetry.metrics
    app[BOARD] = board = Board(redis.name, instance)
    app[BROWSERS] = Browsers(board.snapshot, board.update)
    health_http.add_routes(app, telemetry.health)
    app.router.add_get("/", page)
    app.router.add_get("/json", counts)
    app.router.add_get("/api/history", history)
    app.router.add_get("/api/load-tests", load_tests)
    app.router.add_get("/events", events)
    app.router.add_get("/static/{path:.+}", static)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(end_events)
    app.cleanup_ctx.append(follow_redis)
    return app


async def page(request: web.Request) -> web.Response:
    """The page."""
    return request.app[FILES].response(request, "index.html")


async def static(request: web.Request) -> web.Response:
    """A file of the page; 404 for whatever is none, however odd its name."""
    return request.app[FILES].response(request, request.match_info["path"])


async def follow_redis(app: web.Application) -> AsyncIterator[None]:
    """Keep the board up to date and the browsers told."""
    if not (STATIC / "vendor" / "uplot").is_dir():
        log.get().warning("the chart library was not fetched, the page shows no graph")
    async with feed.client(app[REDIS]) as redis:
        reader = feed.Feed(redis, app[REDIS].keys, app[BOARD], app[BROWSERS], app[health_http.HEALTH])
        app[METRICS].register(WebuiMetrics(app[BROWSERS], app[BOARD], reader))
        following = asyncio.create_task(reader.run())
        yield
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
