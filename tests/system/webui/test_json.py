from support.redis_server import RedisServer
from system.webui.page import Page, follows_redis, until
from system.webui.reports import Reports


async def test_the_counts_are_those_of_redis(ready_page: Page, redis: RedisServer, now: int) -> None:
    redis.client().mset({"hashes": "1234", "coins": "56"})

    async def counted() -> bool:
        async with ready_page.get("/json") as response:
            answer = await response.json()
        assert list(answer) == ["coins", "hashes", "now"]
        assert now <= answer["now"] <= now + 60
        return (answer["coins"], answer["hashes"]) == (56, 1234)

    await until(counted)


async def test_an_empty_redis_has_counted_nothing(ready_page: Page) -> None:
    async with ready_page.get("/json") as response:
        answer = await response.json()
    assert (answer["coins"], answer["hashes"]) == (0, 0)


async def test_without_redis_it_is_a_503_and_a_sentence(ready_page: Page, redis: RedisServer) -> None:
    redis.stop()

    async def away() -> bool:
        async with ready_page.get("/json") as response:
            return response.status == 503 and "Redis does not answer" in await response.text()

    await until(away)
    async with ready_page.get("/healthz") as response:
        assert response.status == 200
    async with ready_page.get("/readyz") as response:
        assert response.status == 200
    redis.start()
    await until(lambda: follows_redis(ready_page))


async def test_keys_that_hold_no_numbers_break_nothing(ready_page: Page, redis: RedisServer, reports: Reports) -> None:
    redis.client().set("hashes", "many")
    redis.client().rpush("coins", "few")

    async def answered() -> bool:
        async with ready_page.get("/json") as response:
            return response.status == 200 and (await response.json())["hashes"] == 0

    await until(answered)
