import time
from collections.abc import AsyncIterator

import pytest
from support.redis_server import RedisServer
from support.reports import Reports
from support.waiting import until
from support.webui_page import Page, is_ready, webui_page

from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry
from webui_svc import keys


@pytest.fixture(autouse=True)
def _read_everything_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "TOTALS_EVERY", 0.1)


@pytest.fixture
def telemetry() -> Telemetry:
    health = Health("redis")
    health.started()
    return Telemetry(health)


@pytest.fixture
def metric(telemetry: Telemetry) -> "Metric":
    return Metric(telemetry)


class Metric:
    """Reads the metrics of webui by their names without the prefix."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._registry = telemetry.metrics

    def __call__(self, name: str) -> float:
        value = self._registry.get_sample_value(f"dockercoins_webui_{name}")
        assert value is not None
        return value

    async def until(self, name: str, value: float) -> None:
        await until(lambda: self(name) == value)


@pytest.fixture
def reports(redis: RedisServer) -> Reports:
    return Reports(redis.client())


@pytest.fixture
def now() -> int:
    return int(time.time())


@pytest.fixture
async def page(redis: RedisServer, telemetry: Telemetry) -> AsyncIterator[Page]:
    """webui that has read Redis once."""
    async with webui_page(redis, telemetry) as page:
        await until(lambda: is_ready(page))
        yield page
