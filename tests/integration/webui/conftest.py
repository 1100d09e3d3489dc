import time
from collections.abc import AsyncIterator, Callable

import pytest
from support.admin_endpoint import Samples
from support.redis_server import RedisServer
from support.reports import Reports
from support.waiting import until
from support.webui_page import Page, is_ready, webui_page

from chassis.health import Health
from chassis.telemetry import Telemetry
from webui_svc import redis_reader

Metric = Callable[[str], float]


@pytest.fixture(autouse=True)
def _read_everything_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_reader, "REST_EVERY_S", 0.1)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Health("redis"))


@pytest.fixture
def metric(telemetry: Telemetry) -> Metric:
    """Reads a metric of webui by its name without the prefix."""
    return lambda name: Samples(telemetry.metrics.collect())(f"dockercoins_webui_{name}")


@pytest.fixture
def reports(redis: RedisServer) -> Reports:
    return Reports(redis.client())


@pytest.fixture
def now() -> int:
    return int(time.time())


@pytest.fixture
async def page(redis: RedisServer, telemetry: Telemetry) -> AsyncIterator[Page]:
    """webui that has read Redis once."""
    async with webui_page(redis.url, telemetry) as page:
        await until(lambda: is_ready(page))
        yield page
