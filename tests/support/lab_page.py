"""The page as a student sees it, in one browser: python -m support.lab_page PORT PROMPT

It writes the prompt, and then reads lines from standard input:

VIEW                  prints the text
VIEW PARTS PICTURE    writes PICTURE-light.png and PICTURE-dark.png of these parts

A view is the part of the address after `#`, or an SVG file in place of the page. Parts are CSS selectors with commas
between. Words are quoted as for a shell.
"""

import asyncio
import shlex
import sys
import traceback
from pathlib import Path

from playwright.async_api import Browser, FloatRect, Page, ViewportSize

from support.chromium import chromium, opened_pages, until_text

# As wide as text on GitHub, so that the letters are as large as there.
SIZE: ViewportSize = {"width": 900, "height": 700}
MARGIN = 8.0

# Until all of the page has the first figures that follow its first ones.
SETTLED_MS = 1_500


async def serve(port: str, prompt: str) -> None:
    """Do what each line of standard input says, until it ends."""
    async with chromium() as browser:
        while True:
            sys.stdout.write(prompt)
            sys.stdout.flush()
            if not (line := await asyncio.to_thread(sys.stdin.readline)):
                return
            try:
                await see(browser, port, *shlex.split(line))
            except Exception:  # noqa: BLE001 - the terminal shows it, and the next look may work
                traceback.print_exc()


async def see(browser: Browser, port: str, view: str, parts: str = "", picture: str = "") -> None:
    """Print the page's text, or write pictures."""
    async with opened_pages(browser) as open_page:
        if view.endswith(".svg"):
            page = await open_page("about:blank", viewport=SIZE)
            await page.set_content(Path(view).read_text())  # noqa: ASYNC240
        else:
            page = await open_page(f"http://127.0.0.1:{port}/#{view}", viewport=SIZE, reduced_motion="reduce")
            await until_text(page, "#status", "^(?!Connecting)")
        await page.wait_for_timeout(SETTLED_MS)
        if not parts:
            await page.evaluate("document.querySelectorAll('#changes').forEach((each) => { each.open = true; })")
            lines = (await page.inner_text("body")).splitlines()
            sys.stdout.write("".join(f"{line}\n" for line in lines if line.strip()))
            return
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.wait_for_timeout(SETTLED_MS)
            await page.screenshot(path=f"{picture}-{scheme}.png", full_page=True, clip=await _around(page, parts))


async def _around(page: Page, parts: str) -> FloatRect:
    """Return the rectangle around some parts of the page."""
    boxes = [box for each in await page.locator(parts).all() if (box := await each.bounding_box())]
    left, top = (min(box[side] for box in boxes) - MARGIN for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return {"x": max(0.0, left), "y": max(0.0, top), "width": right - left, "height": bottom - top}


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
