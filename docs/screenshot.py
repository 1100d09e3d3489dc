"""The page's picture for the README: the real page and its server, over some minutes of simulated workers."""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import ViewportSize
from support.chromium import chromium, until_painted
from support.mining import mining_system
from support.redis_server import redis_server
from support.webui_page import webui_page

SIZE: ViewportSize = {"width": 1_600, "height": 1_000}
# Seconds after which new replicas have their share.
SETTLING_S = 12.0


async def take(picture: Path) -> None:
    """Write the picture as PNG: one worker, then three, so 3.33 hashes per second, then 10."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        async with chromium() as browser, mining_system(redis) as mining:
            mining.rate = 10 / 3
            mining.write_past(300, 170)
            mining.workers += ["worker-2-00000002", "worker-3-00000003"]
            mining.write_past(170)
            async with webui_page(redis.url) as webui:
                page = await browser.new_page(viewport=SIZE, color_scheme="light")
                await page.goto(str(webui.make_url("/")))
                await until_painted(page, "line", 0.8)
                mining.rngs["rng-2"] = mining.hashers["hasher-2"] = "serving"
                await asyncio.sleep(SETTLING_S)
                await page.screenshot(path=picture)


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
