"""The page's pictures for the README, light and dark: a real run at the classic pace that is scaled twice."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.async_api import ViewportSize
from support.chromium import chromium, opened_pages, until_painted, until_text
from support.free_port import free_ports

SIZE: ViewportSize = {"width": 1_280, "height": 720}
# From one number of replicas to the next, and to the pictures.
STEP_S = 30.0
# One worker makes 3.33 hashes per second, ten of them 10, and with a second rng they make 20.
STEPS = ("worker=10", "rng=2")
SETTLED = r"^(19\.[5-9]|20\.)"


async def local_run(*words: str) -> asyncio.subprocess.Process:
    """Start a `dockercoins` command."""
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "local_run", *words, stdout=subprocess.DEVNULL)


async def take(folder: Path) -> None:
    """Write page-light.png and page-dark.png, with "Why?"."""
    ports = free_ports(10)
    with tempfile.TemporaryDirectory() as data:
        os.environ |= {f"{name}_METRICS_PORT": "0" for name in ("RNG", "HASHER", "WORKER", "WEBUI")}
        names = ("WEBUI_PORT", "REDIS_PORT", "HASHER_PORT", "RNG_PORT")
        os.environ |= {name: str(ports + offset) for offset, name in enumerate(names)} | {"DATA_DIR": data}
        system = await local_run("run")
        try:
            for step in STEPS:
                await asyncio.sleep(STEP_S)
                await (await local_run("scale", step)).wait()
            await asyncio.sleep(STEP_S)
            async with chromium() as browser, opened_pages(browser) as open_page:
                for scheme in ("light", "dark"):
                    url = f"http://127.0.0.1:{ports}/#why"
                    page = await open_page(url, viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
                    await until_painted(page, "line", 0.5)
                    await until_text(page, "#speed", SETTLED)
                    await page.screenshot(path=folder / f"page-{scheme}.png")
        finally:
            system.terminate()
            await system.wait()


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
