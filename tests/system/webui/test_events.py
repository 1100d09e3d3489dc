import pytest
from support.redis_server import RedisServer
from system.webui.page import Events, Page
from system.webui.reports import Reports


async def test_a_browser_gets_a_snapshot_and_then_what_changes(ready_page: Page, reports: Reports, now: int) -> None:
    async with ready_page.get("/events") as response:
        assert response.content_type == "text/event-stream"
        events = Events(response)
        name, data = await events.next()
        assert name == "snapshot"
        assert (data["points"], data["redis"], data["workers"], data["hashes"]) == ([], True, 0, 0)
        reports.add_seconds(now - 6, 5, batch_size=16, pace="full")
        name, data = await events.until(lambda _, data: bool(data["points"]))
        assert name == "update"
        assert data["points"][0] == [now - 6, 10]
        _, data = await events.until(lambda _, data: data["hashes"] == 50)
        assert (data["workers"], data["paces"], data["batch_sizes"]) == (1, ["full"], [16])
        assert data["speed"] == pytest.approx(10, rel=0.4)  # less the later it is, for nothing new is reported
        reports.add_seconds(now - 1, 1)
        _, data = await events.until(lambda _, data: bool(data["points"]))
        assert data["points"] == [[now - 1, 10]]


async def test_all_browsers_see_the_same(ready_page: Page, reports: Reports, now: int) -> None:
    async with ready_page.get("/events") as one, ready_page.get("/events") as other:
        browsers = [Events(one), Events(other)]
        for browser in browsers:
            await browser.next()
        reports.add_seconds(now - 2, 2)
        seen = [await browser.until(lambda _, data: bool(data["points"])) for browser in browsers]
    assert seen[0] == seen[1]


async def test_a_browser_is_told_that_redis_went_and_came(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    reports.add_seconds(now - 2, 2)
    async with ready_page.get("/events") as response:
        events = Events(response)
        await events.until(lambda _, data: data["workers"] == 1)
        redis.stop()
        _, data = await events.until(lambda _, data: not data["redis"])
        assert (data["speed"], data["workers"]) == (None, None)
        redis.start()
        _, data = await events.until(lambda _, data: data["redis"])
        assert data["hashes"] == 20


async def test_asking_only_for_the_header_opens_no_stream(ready_page: Page) -> None:
    async with ready_page.head("/events") as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
