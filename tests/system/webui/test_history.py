import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.redis_server import RedisServer
from system.webui.page import Page, follows_redis, points, until
from system.webui.reports import Reports

from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.telemetry.telemetry import Telemetry
from webui_svc.app import make_app


async def test_what_was_reported_before_the_start_is_there(reports: Reports, now: int, page: Page) -> None:
    reports.add_seconds(now - 30, 20)

    async def loaded() -> bool:
        known = await points(page)
        return all(known.get(second) == 10 for second in range(now - 30, now - 10))

    await until(loaded)


async def test_more_reports_than_a_page_are_read(redis: RedisServer, reports: Reports, now: int) -> None:
    for _ in range(2_500):
        reports.add(now - 40, now - 20, 1)
    async with TestClient(TestServer(make_app(RedisAccess(redis.url), Telemetry(Health("redis")), "webui-1"))) as page:

        async def loaded() -> bool:
            return sum((await points(page)).values()) == pytest.approx(2_500)

        await until(loaded)


async def test_new_reports_show_within_two_seconds(ready_page: Page, reports: Reports, now: int) -> None:
    reports.add_seconds(now - 2, 2)

    async def shown() -> bool:
        return (await points(ready_page)).get(now - 1) == 10

    await until(shown)


async def test_so_many_seconds_as_were_asked_for(ready_page: Page, reports: Reports, now: int) -> None:
    reports.add_seconds(now - 100, 100)

    async def shown() -> bool:
        return len(await points(ready_page, 7)) == 7

    await until(shown)
    async with ready_page.get("/api/history?seconds=7") as response:
        answer = await response.json()
    assert answer["resolution"] == 1
    assert list(answer) == ["now", "resolution", "points"]


async def test_beyond_fifteen_minutes_it_is_ten_second_buckets(redis: RedisServer, now: int) -> None:
    first = now // 10 * 10 - 3_000
    redis.client().hset("totals", mapping={str(first + 10 * n): "33.3" for n in range(250)})
    redis.client().hset("totals", mapping={"x": "1", "15": "2", str(first): "nan"})
    async with TestClient(TestServer(make_app(RedisAccess(redis.url), Telemetry(Health("redis")), "webui-1"))) as page:

        async def loaded() -> bool:
            return bool(await points(page, 3_600))

        await until(loaded)
        async with page.get("/api/history?seconds=3600") as response:
            answer = await response.json()
    assert answer["resolution"] == 10
    assert answer["points"][0] == [first + 10, 3.33]
    assert answer["points"][-1][1] == 0


@pytest.mark.parametrize(
    "query",
    [
        "seconds=",
        "seconds=x",
        "seconds=0",
        "seconds=-5",
        "seconds=3601",
        "seconds=1.5",
        "seconds=5&seconds=5",
        "seconds=%FF",
        "seconds=%00",
        "seconds=%0d%0aX-Evil:1",
        f"seconds={'9' * 4_000}",
        "seconds=<script>",
    ],
)
async def test_nonsense_is_a_400_and_a_sentence(ready_page: Page, query: str) -> None:
    async with ready_page.get(f"/api/history?{query}") as response:
        text = await response.text()
    assert response.status == 400
    assert response.content_type == "text/plain"
    assert text.startswith("seconds")
    assert text.endswith("a whole number from 1 to 3600.\n")
    assert text.count("\n") == 1


async def test_malformed_entries_are_skipped(ready_page: Page, reports: Reports, redis: RedisServer, now: int) -> None:
    reports.add_raw({"nothing": "here"})
    for field in ("worker", "sequence", "hashes", "begin_us", "end_us", "batch_size", "pace", "report_interval_us"):
        reports.add(now - 3, now - 2, 1_000, **{field: "x y"})
    reports.add(now - 3, now - 2, 1_000, begin_us=-5)
    reports.add(now - 2, now - 3, 1_000)
    reports.add(now - 3, 253_402_300_800, 1_000)
    redis.client().execute_command("XADD", "reports", "*", b"\xff\xfe", b"\xff\x00")
    reports.add_seconds(now - 3, 3)

    async def shown() -> bool:
        return (await points(ready_page)).get(now - 1) == 10

    await until(shown)
    assert (await points(ready_page))[now - 3] == 10
    assert await follows_redis(ready_page)
