import time

from e2e.page.browser import Open, shoot, until_painted, until_text
from playwright.async_api import expect
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses

from bench.page.simulation import Simulation

WORKERS = 200

DRAWN = 2.0
"""Seconds in which the page draws what it did not know before."""


async def test_an_hour_of_two_hundred_workers_is_drawn_within_two_seconds(
    open_page: Open, redis: RedisServer, processes: ServiceProcesses
) -> None:
    simulation = Simulation(redis.client(), WORKERS)
    simulation.write_hour()
    with simulation.reporting():
        webui = processes.start("webui", REDIS_URL=redis.url)
        webui.wait_for("started")
        page = await open_page("about:blank")
        url = f"http://127.0.0.1:{webui.port}/"
        await page.goto(url)  # what it reads first is an hour of reports
        await until_text(page, "#workers", f"^{WORKERS}$")
        await page.context.close()
        page = await open_page("about:blank")
        began = time.monotonic()
        await page.goto(url)
        await page.get_by_role("radio", name="60 min").press("Space")
        await until_painted(page, "line", 0.9)
        assert time.monotonic() - began < DRAWN
        began = time.monotonic()
        await page.get_by_role("radio", name="By worker").press("Space")
        legend = page.get_by_role("list", name="Workers, by hashes per second")
        await expect(legend.get_by_role("listitem")).to_have_count(9)
        await until_painted(page, "others", 0.9)  # eight of so many are thinner than a pixel
        assert time.monotonic() - began < DRAWN
        await expect(page.locator("[data-service=worker]")).to_contain_text("+184 more")
        await shoot(page, "two-hundred-workers")
