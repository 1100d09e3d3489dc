import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.redis_server import RedisServer
from system.webui.page import Page, until
from system.webui.reports import Reports

from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.telemetry.telemetry import Telemetry
from webui_svc.app import make_app


async def by_worker(page: Page, seconds: int) -> dict[str, list[float]]:
    """The columns of the history by their names."""
    async with page.get("/api/history", params={"seconds": str(seconds), "by": "worker"}) as response:
        assert response.status == 200
        answer = await response.json()
    assert list(answer) == ["now", "resolution", "workers", "points"]
    names = ["second", *answer["workers"], "others"]
    columns = [list(column) for column in zip(*answer["points"], strict=True)] or [[] for _ in names]
    return dict(zip(names, columns, strict=True))


async def test_the_last_minutes_by_the_second(ready_page: Page, reports: Reports, now: int) -> None:
    for number in range(1, 11):
        reports.add_seconds(now - 5, 5, number, f"worker-{number}-00000001")

    async def shown() -> bool:
        return len((await by_worker(ready_page, 300))["second"]) == 5

    await until(shown)
    columns = await by_worker(ready_page, 3)
    assert list(columns) == ["second", *(f"worker-{number}-00000001" for number in range(10, 2, -1)), "others"]
    assert columns["second"] == [now - 3, now - 2, now - 1]
    assert (columns["worker-10-00000001"], columns["others"]) == ([10] * 3, [3] * 3)


async def test_nothing_is_nobody(ready_page: Page) -> None:
    assert await by_worker(ready_page, 300) == {"second": [], "others": []}
    assert await by_worker(ready_page, 3_600) == {"second": [], "others": []}


async def test_the_hour_by_ten_seconds(redis: RedisServer, reports: Reports, now: int) -> None:
    first = now // 10 * 10 - 3_000
    reports.add_totals(first, 250, 33.3, "worker-1-00000001")
    reports.add_totals(first + 1_000, 100, 100, "worker-2-00000002")
    redis.client().set("totals:worker-3-00000003", "no hash")
    redis.client().hset("totals:\xff worker", "10", "1")
    redis.client().hset("totals", str(first), 50)  # 16.7 of which nobody says are its own
    async with TestClient(TestServer(make_app(RedisAccess(redis.url), Telemetry(Health("redis")), "webui-1"))) as page:

        async def loaded() -> bool:
            return bool((await by_worker(page, 3_600))["second"])

        await until(loaded)
        columns = await by_worker(page, 3_600)
        assert list(columns) == ["second", "worker-2-00000002", "worker-1-00000001", "others"]
        assert [columns[name][0] for name in columns] == [first, 0, 3.33, 1.67]
        assert [columns[name][100] for name in columns] == [first + 1_000, 10, 3.33, 0]


async def test_a_worker_that_came_later_is_in_the_hour_too(ready_page: Page, reports: Reports, now: int) -> None:
    reports.add_totals(now // 10 * 10 - 20, 1, 50, "worker-1-00000001")
    reports.add_seconds(now - 5, 5)

    async def shown() -> bool:
        return (await by_worker(ready_page, 3_600)).get("worker-1-00000001", [])[:1] == [5]

    await until(shown)


@pytest.mark.parametrize("query", ["by=", "by=rng", "by=worker&by=worker", "by=%00", f"by={'x' * 4_000}", "by=<b>"])
async def test_nonsense_is_a_400_and_a_sentence(ready_page: Page, query: str) -> None:
    async with ready_page.get(f"/api/history?{query}") as response:
        text = await response.text()
    assert (response.status, response.content_type) == (400, "text/plain")
    assert text.startswith("by")
    assert text.endswith("worker.\n")
    assert text.count("\n") == 1
