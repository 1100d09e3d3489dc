from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from playwright.async_api import Browser
from support.chromium import Open, chromium, opened_pages
from support.mining import Mining, mining_system
from support.redis_server import RedisServer
from support.waiting import until
from support.webui_page import ANYBODY

from chassis.health import Health
from chassis.redis.settings import RedisAccess
from chassis.telemetry import Telemetry
from webui_svc import redis_reader
from webui_svc.app import make_app
from webui_svc.settings import MAX_STREAMS

# Where a proxy has the page; the containers' page has none.
PREFIX = "/some/prefix/"


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """These tests need a browser, and no container engine."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def mining(own_redis: RedisServer) -> AsyncIterator[Mining]:
    async with mining_system(own_redis) as mining:
        yield mining


@pytest.fixture
def failing() -> Counter[str]:
    """The requests for a file that fail from now on, by its name: their connections break."""
    return Counter()


@pytest_asyncio.fixture(loop_scope="session")
async def webui(
    own_redis: RedisServer, failing: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TestServer]:
    """webui, in this process, that has read Redis once: its first look must not wait where no test runs its loop."""
    monkeypatch.setattr(redis_reader, "REST_EVERY_S", 0.5)
    health = Health("redis")
    health.started()

    @web.middleware
    async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if failing[name] > 0 and request.transport:
            failing[name] -= 1
            request.transport.abort()
            return web.Response()
        return await handler(request)

    root = web.Application(middlewares=[fail])
    root.add_subapp(PREFIX, make_app(RedisAccess(own_redis.url), Telemetry(health), "webui-1", ANYBODY, MAX_STREAMS))
    server = TestServer(root)
    async with server:
        await until(lambda: health.ready)
        yield server


@pytest.fixture
def url(webui: TestServer) -> str:
    return str(webui.make_url(PREFIX))


@pytest_asyncio.fixture(loop_scope="session")
async def open_file(browser: Browser) -> AsyncIterator[Open]:
    """Open pages that need no server."""
    async with opened_pages(browser) as open_one:
        yield open_one


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(url: str, browser: Browser) -> AsyncIterator[Open]:
    async with opened_pages(browser) as open_page:
        yield open_page
