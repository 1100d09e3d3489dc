import time
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.redis_server import RedisServer
from system.webui.page import Page, is_ready, until
from system.webui.reports import Reports

from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.telemetry.telemetry import Telemetry
from webui_svc.app import make_app


@pytest.fixture
def health() -> Health:
    health = Health("redis")
    health.started()
    return health


@pytest.fixture
def telemetry(health: Health) -> Telemetry:
    return Telemetry(health)


@pytest.fixture
def reports(redis: RedisServer) -> Reports:
    return Reports(redis)


@pytest.fixture
def now() -> int:
    return int(time.time())


@pytest.fixture
async def page(redis: RedisServer, telemetry: Telemetry) -> AsyncIterator[Page]:
    async with TestClient(TestServer(make_app(RedisAccess(redis.url), telemetry, "webui-1"))) as client:
        yield client


@pytest.fixture
async def ready_page(page: Page) -> Page:
    await until(lambda: is_ready(page))
    return page
