"""The first two charts of a load test's page for docs/batching.md, light and dark: a real run."""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import ViewportSize
from support.chromium import chromium, opened_pages

REMOVE_OTHERS = "document.querySelectorAll('figure:nth-of-type(n + 3)').forEach((each) => each.remove())"
SIZE: ViewportSize = {"width": 1_280, "height": 800}
# One minute in all.
WORDS = ("-m", "load_test", "--duration", "1", "--warm-up", "0.3", "--html")


async def take(folder: Path) -> None:
    """Write load-test-light.png and load-test-dark.png."""
    with tempfile.TemporaryDirectory() as data:
        report = Path(data) / "report.html"
        measuring = await asyncio.create_subprocess_exec(sys.executable, *WORDS, str(report))
        if await measuring.wait() != 0:
            sys.exit("the load test failed")
        async with chromium() as browser, opened_pages(browser) as open_page:
            for scheme in ("light", "dark"):
                page = await open_page(report.as_uri(), viewport=SIZE, color_scheme=scheme)
                await page.evaluate(REMOVE_OTHERS)
                await page.locator("#charts").screenshot(path=folder / f"load-test-{scheme}.png")


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
