import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from perf.conftest import Figures
from playwright.async_api import expect
from support.chromium import HIDE, Open, chromium, opened_pages, until_painted, until_text
from support.mining import Mining
from support.redis_server import RedisServer
from support.reports import Reports
from support.service_process import ServiceProcesses
from support.waiting import background

WORKERS = 200

# Until a page's code is compiled, and for how long its CPU is measured.
SETTLING_S = 8.0
MEASURED_S = 20.0

# Notes when the curve was first drawn: to look at its pixels all the time would take longer than to draw them.
NOTE_PAINT = """
  const { stroke } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.stroke = function (...path) {
    const line = getComputedStyle(document.documentElement).getPropertyValue('--line').trim();
    if (this.strokeStyle === line) window.painted ??= performance.now() / 1000;
    stroke.apply(this, path);
  };
"""


def cpu_s(*processes: int) -> float:
    """Return the CPU time of processes by the scheduler's account; by clock ticks, short bursts count too much."""
    threads = [thread for each in processes for thread in Path(f"/proc/{each}/task").glob("*/schedstat")]
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@pytest.fixture
async def open_page() -> AsyncIterator[Open]:
    async with chromium() as browser, opened_pages(browser) as open_page:
        yield open_page


async def test_first_paint(
    open_page: Open, own_redis: RedisServer, processes: ServiceProcesses, figures: Figures
) -> None:
    Mining(own_redis.client()).write_past(300)
    webui = processes.start("webui", REDIS_URL=own_redis.url)
    webui.wait_until_started()
    taken = []
    for _ in range(4):  # the best counts
        page = await open_page("about:blank")
        await page.add_init_script(NOTE_PAINT)
        await page.goto(f"http://127.0.0.1:{webui.port}/")
        await until_painted(page, "line", 0.8)
        taken.append(await page.evaluate("window.painted"))
        await page.context.close()
    figures.check("first paint of a graph with five minutes of history", min(taken), 1.0, "s")


async def test_an_hour_of_many_workers(
    open_page: Open, own_redis: RedisServer, processes: ServiceProcesses, figures: Figures
) -> None:
    mining = Mining(own_redis.client())
    mining.workers = [f"worker-{number}-{number:08x}" for number in range(1, WORKERS + 1)]
    mining.write_past(60)
    with own_redis.client().pipeline(transaction=False) as pipeline:
        first = int(time.time()) // 10 * 10 - 3_600
        for worker in mining.workers:
            Reports(pipeline).add_totals(first, 355, 100, worker)
        pipeline.execute()
    webui = processes.start("webui", REDIS_URL=own_redis.url)
    page = await open_page(f"http://127.0.0.1:{webui.port}/")
    await until_text(page, "#status", "^(Live|No worker reports)$")  # webui has read all of it
    page = await open_page("about:blank")
    began = time.monotonic()
    await page.goto(f"http://127.0.0.1:{webui.port}/")
    await page.get_by_role("radio", name="60 min").press("Space")
    await until_painted(page, "line", 0.9)
    figures.check("an hour of 200 workers in a new page", time.monotonic() - began, 2.0, "s")
    began = time.monotonic()
    await page.get_by_role("radio", name="By worker").press("Space")
    legend = page.get_by_role("list", name="Workers, by hashes per second")
    await expect(legend.get_by_role("listitem")).to_have_count(9)
    await until_painted(page, "others", 0.9)  # eight of so many are thinner than a pixel
    figures.check("the same by worker", time.monotonic() - began, 2.0, "s")


async def test_cpu_of_a_tab_and_of_webui(own_redis: RedisServer, processes: ServiceProcesses, figures: Figures) -> None:
    mining = Mining(own_redis.client())
    mining.workers = [f"worker-{number}-{number:08x}" for number in range(1, 11)]
    mining.rate = 1.0
    mining.write_past(300)
    webui = processes.start("webui", REDIS_URL=own_redis.url)
    webui.wait_until_started()
    server = webui.popen.pid
    async with chromium() as browser, opened_pages(browser) as open_page, background(mining.run()):
        page = await open_page(f"http://127.0.0.1:{webui.port}/#why")
        session = await browser.new_browser_cdp_session()
        await until_text(page, "#workers", "^10$")
        await asyncio.sleep(SETTLING_S)

        processes_of_browser = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
        renderers = [each["id"] for each in processes_of_browser if each["type"] == "renderer"]

        async def cores() -> tuple[float, float]:
            began = time.monotonic(), cpu_s(*renderers), cpu_s(server)
            await asyncio.sleep(MEASURED_S)
            seconds = time.monotonic() - began[0]
            return (cpu_s(*renderers) - began[1]) / seconds, (cpu_s(server) - began[2]) / seconds

        tab, served = await cores()
        await page.evaluate(HIDE, arg=True)
        hidden, _ = await cores()
    figures.check("the same while it is hidden, which receives and draws nothing", hidden, 0.01, "cores")
    figures.check("webui with this one browser", served, 0.006, "cores")
    figures.check("a tab that shows ten workers, and why", tab, 0.05, "cores")
