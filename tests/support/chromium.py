import importlib.util
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from support.programs import skip_or_fail
from webui_svc.app import STATIC

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

# Milliseconds after which something expected on a page counts as missing.
WAIT_MS = 30_000

Open = Callable[..., Awaitable[Page]]

_PAINTED = """(name) => {
  const canvas = document.querySelector('#chart canvas');
  if (!canvas) return 0;
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const wanted = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const { width, height } = canvas;
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
  const near = (at) => data[at + 3] > 200 && wanted.every((value, part) => Math.abs(data[at + part] - value) < 12);
  let columns = 0;
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      if (near(4 * (y * width + x))) { columns += 1; break; }
    }
  }
  return columns / width;
}"""

# Makes a tab believe that it is hidden, or seen again: a browser without windows hides none.
HIDE = """(yes) => {
  Object.defineProperty(document, 'hidden', { value: yes, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""

_CUT_OFF = """() => {
  const system = document.querySelector('.system');  // the load test's report has none
  const bottom = system === null ? Infinity : system.getBoundingClientRect().bottom;
  const cut = [...document.querySelectorAll('.replica')].filter((each) => each.getBoundingClientRect().bottom > bottom);
  // Names of as many letters as "hasher-10" must differ where they are shown.
  const names = [...document.querySelectorAll('.name b')].filter((each) => each.textContent.length <= 9);
  return [...cut, ...names.filter((each) => each.scrollWidth > each.clientWidth)].map((each) => each.textContent);
}"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running Chromium or Chrome; without one, the test ends."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        skip_or_fail("there is no Chromium; on Debian and Ubuntu, install chromium")
    if not (STATIC / "vendor" / "uplot").is_dir():
        skip_or_fail("the chart library is not there; `make e2e` copies it")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def opened_pages(browser: Browser) -> AsyncIterator[Open]:
    """Opens pages, each in a profile of its own, and closes them; no script may fail in any of them."""
    errors: list[str] = []
    contexts: list[BrowserContext] = []

    async def open_page(url: str, **options: Any) -> Page:
        context = await browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options}
        )
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if _is_error(said.type, said.text) else None)
        await page.goto(url)
        return page

    try:
        yield open_page
    finally:
        for context in contexts:
            await context.close()
    assert errors == []


def _is_error(kind: str, text: str) -> bool:
    # That something can't be loaded is said whenever a test cuts the connection.
    return kind == "error" and not text.startswith("Failed to load resource")


async def painted(page: Page, colour: str) -> float:
    """Return the part of the graph's width, 0 to 1, in which a colour of the page shows."""
    return float(await page.evaluate(_PAINTED, colour))


async def until_painted(page: Page, colour: str, least: float, most: float = 1.0) -> None:
    """Wait until a part of the graph's width, between `least` and `most`, shows a colour of the page."""
    within = f"([name, least, most]) => {{ const part = ({_PAINTED})(name); return part >= least && part <= most; }}"
    await page.wait_for_function(within, arg=[colour, least, most])


async def until_text(page: Page, selector: str, pattern: str) -> None:
    """Wait until an element's text matches a pattern of JavaScript."""
    await page.wait_for_function(
        "([selector, pattern]) => new RegExp(pattern).test(document.querySelector(selector)?.textContent ?? '')",
        arg=[selector, pattern],
    )


async def shoot(page: Page, name: str, *, whole: bool = True) -> None:
    """Keep a picture of the whole page or of the window among what a run leaves behind, and check what it shows.

    Nothing lies beside the window, every replica is within its card, and axe finds nothing.
    """
    await page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.evaluate(_CUT_OFF) == []
    await page.evaluate(_axe())
    found = await page.evaluate("axe.run()")
    violations = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]
    assert violations == [], violations


def _axe() -> str:
    if importlib.util.find_spec("axe_playwright_python") is None:
        skip_or_fail("there is no axe-core; pip install axe-playwright-python")
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text()
