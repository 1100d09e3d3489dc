import asyncio

from e2e.page.browser import Open, painted, shoot, until_painted, until_text
from e2e.page.mining import Mining
from e2e.page.proxies import cable
from support.redis_server import RedisServer
from support.service_process import ServiceProcess

AWAY = 6.0
"""Seconds: a tenth of the shortest time shown."""


async def test_a_cut_connection_is_said_and_heals(open_page: Open, webui: ServiceProcess, mining: Mining) -> None:
    mining.write_past(300)
    async with cable(webui.port) as line:
        page = await open_page(f"http://127.0.0.1:{line.port}/")
        await until_text(page, "#status", "^Live$")
        await page.get_by_role("radio", name="1 min", exact=True).press("Space")
        await until_painted(page, "line", 0.85)
        whole = await painted(page, "line")
        await line.cut()
        await until_text(page, "#status", "^Connection lost")
        await asyncio.sleep(AWAY)
        assert await painted(page, "line") < whole - 0.05  # time goes on, with nothing known of it
        await shoot(page, "connection-lost")
        await line.mend()
        await until_text(page, "#status", "^Live$")
        await until_painted(page, "line", 0.85)
        await page.context.close()


async def test_redis_away_is_said_and_heals(open_page: Open, url: str, redis: RedisServer, mining: Mining) -> None:
    mining.write_past(300)
    page = await open_page(url)
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#speed", r"^10\.0$")
    redis.stop()
    await until_text(page, "#status", "^Redis is away")
    await until_text(page, "#speed", r"^10\.0$")
    await shoot(page, "redis-away")
    redis.start()
    await until_text(page, "#status", "^Live$")
    await until_painted(page, "line", 0.8)
