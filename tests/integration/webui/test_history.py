import pytest
from support.redis_server import RedisServer
from support.reports import Reports
from support.waiting import until
from support.webui_page import Page, points, until_shown, webui_page

HOUR = 3_600


async def by_worker(page: Page, seconds: int) -> dict[str, list[float]]:
    """Return the columns of the history by their names."""
    async with page.get("/api/history", params={"seconds": str(seconds), "by": "worker"}) as response:
        answer = await response.json()
    assert list(answer) == ["now", "resolution", "workers", "gone", "points"]
    names = ["second", *answer["workers"], "others"]
    columns = [list(column) for column in zip(*answer["points"], strict=True)] or [[] for _ in names]
    return dict(zip(names, columns, strict=True))


async def test_all_that_was_reported_before_the_start_is_read(redis: RedisServer, now: int) -> None:
    with redis.client().pipeline(transaction=False) as pipeline:
        many = Reports(pipeline)
        for _ in range(2_500):  # more than are read at a time
            many.add(now - 40, now - 20, 1)
        pipeline.execute()
    async with webui_page(redis.url) as page:

        async def loaded() -> bool:
            return sum((await points(page)).values()) == pytest.approx(2_500)

        await until(loaded)


async def test_counts_and_the_last_seconds_are_returned_in_all_and_by_worker(
    page: Page, reports: Reports, now: int
) -> None:
    workers = [f"worker-{number}-00000001" for number in range(10, 0, -1)]
    for number, worker in enumerate(reversed(workers), 1):
        reports.add_seconds(now - 5, 5, number, worker)
    reports.client.set("coins", 56)
    await until_shown(page, now - 1, 55)
    async with page.get("/api/history?seconds=3") as response:
        answer = await response.json()
    assert (list(answer), answer["resolution"]) == (["now", "resolution", "points"], 1)
    assert [hashes for _, hashes in answer["points"]] == [55] * 3
    columns = await by_worker(page, 3)
    names = [f"worker-{number}" for number in range(3, 11)]
    assert list(columns) == ["second", *names, "others"]
    assert columns["second"] == [now - 3, now - 2, now - 1]
    assert (columns["worker-10"], columns["others"]) == ([10] * 3, [3] * 3)
    async with page.get("/json") as response:
        assert await response.json() == {"coins": 56, "hashes": 275, "now": pytest.approx(now + 30, abs=30)}


async def test_an_hour_is_returned_in_ten_second_buckets(redis: RedisServer, now: int) -> None:
    first = now // 10 * 10 - 3_000
    with redis.client().pipeline(transaction=False) as pipeline:
        Reports(pipeline).add_totals(first, 250, 33.3, "worker-1-00000001")
        Reports(pipeline).add_totals(first + 1_000, 100, 100, "worker-2-00000002")
        pipeline.execute()
    redis.client().set("totals:worker-3-00000003", "no hash")
    redis.client().zadd("workers", {"worker-3-00000003": now, "\xff worker": now, "worker-4-00000004": now})
    redis.client().hset("totals", mapping={str(first): 50, "x": "1", "15": "2"})  # 16.7 are of no known worker
    async with webui_page(redis.url) as page:

        async def loaded() -> bool:
            return bool((await by_worker(page, HOUR))["second"])

        await until(loaded)
        columns = await by_worker(page, HOUR)
        assert list(columns) == ["second", "worker-1", "worker-2", "others"]
        assert [columns[name][0] for name in columns] == [first, 3.33, 0, 1.67]
        assert [columns[name][100] for name in columns] == [first + 1_000, 3.33, 10, 0]
        async with page.get(f"/api/history?seconds={HOUR}") as response:
            answer = await response.json()
        assert (answer["resolution"], answer["points"][0], answer["points"][-1][1]) == (10, [first, 5], None)


async def test_a_worker_that_comes_later_is_in_the_hour_too(page: Page, reports: Reports, now: int) -> None:
    reports.add_totals(now // 10 * 10 - 20, 1, 50)
    reports.add_seconds(now - 5, 5)

    async def shown() -> bool:
        return (await by_worker(page, HOUR)).get("worker-1", [])[:1] == [5]

    await until(shown)


async def test_nonsense_is_answered_with_400_and_a_sentence(page: Page) -> None:
    async with page.get("/api/history?by=%00") as response:
        assert (response.status, response.content_type) == (400, "text/plain")
        assert await response.text() == "by='\\x00' is not allowed; it must be worker.\n"
