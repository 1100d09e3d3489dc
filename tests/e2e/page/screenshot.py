"""The page's picture for the README: the real page and its server, over some minutes that a test's workers wrote."""

import asyncio
import sys
import tempfile
from pathlib import Path

from e2e.page.browser import ARGUMENTS, found_chromium, until_painted
from e2e.page.mining import Mining, mining_system
from playwright.async_api import async_playwright
from support.redis_server import redis_server
from support.service_process import service_processes

SIZE = (1_600, 1_000)
SETTLING = 12.0
"""Seconds in which what came last gets its share."""


def write_past(mining: Mining) -> None:
    """One worker, then three: 3.33 hashes a second, then 10."""
    mining.rate = 10 / 3
    mining.write_past(300, 170)
    mining.workers += ["worker-2-00000002", "worker-3-00000003"]
    mining.write_past(170)


async def take(picture: Path, chromium: str) -> None:
    """Write the picture as PNG."""
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder) / "redis") as redis,
        service_processes(Path(folder)) as processes,
    ):
        async with mining_system(redis) as mining, async_playwright() as playwright:
            write_past(mining)
            webui = processes.start("webui", REDIS_URL=redis.url, INSTANCE="webui")
            url = f"http://127.0.0.1:{webui.port}/"
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            width, height = SIZE
            page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
            await page.goto(url)
            await until_painted(page, "line", 0.8)
            mining.rngs["rng-2"] = mining.hashers["hasher-2"] = "serving"
            await asyncio.sleep(SETTLING)
            await page.screenshot(path=picture)
            await browser.close()


if __name__ == "__main__":
    found = found_chromium()
    if found is None:
        sys.exit("there is no Chromium; on Debian and Ubuntu, install chromium")
    asyncio.run(take(Path(sys.argv[1]), found))
