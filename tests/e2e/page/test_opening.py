from e2e.page.browser import Open, until_painted, until_text
from e2e.page.mining import Mining
from e2e.page.proxies import sub_path
from playwright.async_api import Page

MOST_BYTES = 150 * 1_024
"""Of all that the page fetches, as it comes over the wire, up to the first drawing of the graph."""

FIRST_PAINT = 1.0
"""Seconds from asking for the page to a graph with its history, on loopback."""

NOTE_PAINT = """
  const { stroke } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.stroke = function (...path) {
    const line = getComputedStyle(document.documentElement).getPropertyValue('--line').trim();
    if (this.strokeStyle === line) window.painted ??= performance.now() / 1000;
    stroke.apply(this, path);
  };
"""
"""Notes when the curve was first drawn: looking at its pixels all the time would take longer than drawing them."""


async def test_it_opens_with_its_history(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(300)
    page = await open_page(url)
    await until_painted(page, "line", 0.8)
    await until_text(page, "#speed", r"^10\.0$")
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#pace", "^classic$")


async def test_it_says_that_nobody_mines(open_page: Open, url: str) -> None:
    page = await open_page(url)
    await until_text(page, "#status", "No worker reports")
    await until_text(page, "#speed", "^0$")
    await until_text(page, "#prediction", "^$")


async def test_a_graph_with_history_is_drawn_within_a_second(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(300)
    taken = []
    for _ in range(4):  # the best: the machine may have something else to do, and at first webui still reads
        page = await open_page("about:blank")
        await page.add_init_script(NOTE_PAINT)
        await page.goto(url)
        await until_painted(page, "line", 0.8)
        taken.append(await page.evaluate("window.painted"))
        await page.context.close()
    assert min(taken) < FIRST_PAINT


async def test_it_weighs_little(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(300)
    page = await open_page("about:blank")
    sizes: list[int] = []

    async def weigh(page: Page) -> None:
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        session.on("Network.dataReceived", lambda event: sizes.append(event["encodedDataLength"]))

    await weigh(page)
    await page.goto(url)
    await until_painted(page, "line", 0.8)
    assert 20_000 < sum(sizes) < MOST_BYTES


async def test_it_works_below_a_prefix(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(300)
    async with sub_path(url, "/some/prefix/") as below:
        page = await open_page(below)
        await until_painted(page, "line", 0.8)
        await until_text(page, "#status", "^Live$")
        await page.get_by_role("radio", name="60 min").press("Space")
        await page.context.close()
