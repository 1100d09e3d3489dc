"""What the page's server tells of itself."""

import asyncio
import re
import time

import aiohttp
import pytest
from support.probe import ask
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses
from system.webui.page import Events, Page, is_ready, until
from system.webui.reports import Reports
from system.webui.test_resume import flood, open_without_reading

from chassis.telemetry.telemetry import Telemetry
from webui_svc import events as events_module


@pytest.fixture
def metric(telemetry: Telemetry) -> "Metric":
    return Metric(telemetry)


class Metric:
    """What the registry says under a name, without what all names begin with."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._registry = telemetry.metrics

    def __call__(self, name: str) -> float:
        value = self._registry.get_sample_value(f"dockercoins_webui_{name}")
        assert value is not None
        return value

    async def until(self, name: str, value: float) -> None:
        """Wait until it is this."""

        async def reached() -> bool:
            return self(name) == value

        await until(reached)


async def test_streams_are_those_open_now(ready_page: Page, metric: Metric) -> None:
    assert metric("streams") == 0
    async with ready_page.get("/events"), ready_page.get("/events"):
        assert metric("streams") == 2
    await metric.until("streams", 0)


async def test_one_too_many_is_refused(ready_page: Page, metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MOST_STREAMS", 1)
    async with ready_page.get("/events"), ready_page.get("/events"):
        assert (metric("streams"), metric("streams_refused_total")) == (1, 1)


async def test_one_that_takes_nothing_is_dropped_and_one_that_leaves_is_not(
    ready_page: Page, metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, leaving = open_without_reading(ready_page), open_without_reading(ready_page)
    await metric.until("streams", 2)
    await flood(ready_page)
    leaving.close()  # with events unread: its connection is reset while it is being written to
    await metric.until("streams", 1)
    assert metric("streams_dropped_total") == 0
    stuck.close()
    await metric.until("streams", 0)
    monkeypatch.setattr(events_module, "WRITE_LIMIT", 0.2)
    stuck = open_without_reading(ready_page)
    await metric.until("streams", 1)
    await flood(ready_page)
    await metric.until("streams", 0)
    assert metric("streams_dropped_total") == 1
    stuck.close()


async def test_the_lag_is_that_from_redis_to_the_browsers(
    page: Page, metric: Metric, reports: Reports, now: int
) -> None:
    reports.add_seconds(now - 5, 2)
    await until(lambda: is_ready(page))
    assert metric("lag_seconds_count") == 0  # what is old when the process begins says nothing of it
    async with page.get("/events") as response:
        events = Events(response)
        began = time.time()
        reports.add_seconds(now - 3, 3)
        await events.until(lambda _, data: any(second == now - 1 for second, _ in data["points"]))
        most = 3 * (time.time() - began)
    await metric.until("lag_seconds_count", 3)
    assert 0 < metric("lag_seconds_sum") < most


async def test_redis_is_1_while_it_answers(ready_page: Page, metric: Metric, redis: RedisServer) -> None:
    assert metric("redis") == 1
    redis.stop()
    await metric.until("redis", 0)
    redis.start()
    await metric.until("redis", 1)


async def test_malformed_entries_are_counted(ready_page: Page, metric: Metric, redis: RedisServer) -> None:
    assert metric("malformed_entries_total") == 0
    for _ in range(2):
        redis.client().xadd("reports", {"worker": "w"})
    await metric.until("malformed_entries_total", 2)
    assert metric("lag_seconds_count") == 0


async def test_they_are_on_the_port_for_metrics_and_not_on_the_pages(
    redis: RedisServer, processes: ServiceProcesses
) -> None:
    webui = processes.start("webui", REDIS_URL=redis.url)
    status, text = await asyncio.to_thread(ask, webui.metrics_port, "/metrics")
    assert status == 200
    names = set(re.findall(r"^(dockercoins_webui_\w+)", text, re.MULTILINE))
    assert {
        "dockercoins_webui_streams",
        "dockercoins_webui_streams_dropped_total",
        "dockercoins_webui_streams_refused_total",
        "dockercoins_webui_lag_seconds_bucket",
        "dockercoins_webui_redis",
        "dockercoins_webui_malformed_entries_total",
    } <= names
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{webui.port}/metrics") as response:
        assert response.status == 404
