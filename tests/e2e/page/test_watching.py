from e2e.page.browser import Open, painted, until_painted, until_text
from e2e.page.mining import Mining, load_test
from playwright.async_api import Page, expect

APPEARS = 4_000
"""Milliseconds in which a replica that came or went shows."""


async def number(page: Page, selector: str) -> int:
    return int((await page.locator(selector).inner_text()).replace(",", ""))


async def test_the_figures_move(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(20)
    page = await open_page(url)
    await until_text(page, "#hashes", r"\d")
    before = await number(page, "#hashes")
    await page.wait_for_function(
        "(before) => Number(document.querySelector('#hashes').textContent.replaceAll(',', '')) > before", arg=before
    )
    mining.rate = 30.0
    await until_text(page, "#speed", r"^30\.0$")


async def test_the_time_is_chosen_by_keyboard_alone(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(400)
    page = await open_page(url)
    await until_painted(page, "line", 0.8)
    await page.locator("body").press("Tab")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.value") == "300"
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("img", name="last 15 minutes")).to_be_visible()
    await page.wait_for_function("() => document.activeElement.value === '900'")
    await until_painted(page, "line", 0.3)
    assert await painted(page, "line") < 0.6  # 400 of 900 seconds
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("img", name="last 60 minutes")).to_be_visible()
    for _ in range(3):
        await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_role("img", name="last minute")).to_be_visible()
    await until_painted(page, "line", 0.8)


async def test_the_graph_shows_each_worker(open_page: Open, url: str, mining: Mining) -> None:
    mining.workers = ["worker-1-00000001", "worker-2-00000002"]
    mining.write_past(300)
    page = await open_page(url)
    await page.get_by_role("radio", name="By worker").press("Space")
    await until_painted(page, "series-1", 0.8)
    await until_painted(page, "series-2", 0.8)
    legend = page.get_by_role("list", name="Workers, by hashes per second")
    await expect(legend.get_by_role("listitem")).to_have_count(2)
    await expect(legend).to_contain_text("worker-2")
    await page.get_by_role("radio", name="Total").press("Space")
    await until_painted(page, "line", 0.8)
    await expect(legend).to_be_hidden()


async def test_a_replica_comes_and_goes(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(20)
    page = await open_page(url)
    rng = page.get_by_role("group", name="rng")
    await expect(rng.get_by_role("listitem")).to_have_count(1)
    mining.rngs |= {"rng-2": "serving", "rng-3": "serving"}
    await expect(rng.get_by_role("listitem")).to_have_count(3, timeout=APPEARS)
    await expect(rng.get_by_role("listitem").nth(1)).to_contain_text("rng-2")
    await expect(rng.get_by_role("listitem").nth(1)).to_contain_text("serving")
    await expect(rng.get_by_role("listitem").nth(1)).to_contain_text("p99")
    mining.rngs["rng-2"] = "gone"
    await expect(rng.get_by_role("listitem").nth(1)).to_contain_text("gone", timeout=APPEARS)
    del mining.rngs["rng-2"]
    await expect(rng.get_by_role("listitem")).to_have_count(2, timeout=15_000)
    changes = page.get_by_role("list", name="Changes")
    await page.locator("summary", has_text="change").press("Enter")
    await expect(changes).to_contain_text("rng-2 came")
    await expect(changes).to_contain_text("rng-2 went")


async def test_coins_show_their_zero_bits_beside_what_chance_predicts(
    open_page: Open, url: str, mining: Mining
) -> None:
    mining.rate = 64.0
    mining.write_past(100)
    page = await open_page(url)
    coins = page.get_by_role("list", name="Latest coins")
    await expect(coins.get_by_role("listitem").first).to_contain_text("0000")
    await expect(coins.get_by_role("listitem").first.locator(".digest mark")).to_have_text("0")
    await until_text(page, "#prediction", r"chance predicts 240 ± 15")


async def test_load_tests_show_once_there_are_some(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(20)
    page = await open_page(url)
    await until_text(page, "#status", "^Live$")
    section = page.get_by_role("region", name="Load tests")
    await expect(section).to_be_hidden()
    mining.publish(load_test("2026-01-02T03:04:05+00:00"))
    mining.publish(load_test("2026-02-03T04:05:06+00:00", points=4))
    await expect(section).to_be_visible(timeout=15_000)
    await expect(section.locator("canvas")).to_have_count(2)
    await expect(section.get_by_role("option")).to_have_count(2)
    await section.locator("summary").press("Enter")
    await expect(section.get_by_role("row")).to_have_count(9)
    await section.get_by_role("combobox").select_option(index=1)
    await expect(section.get_by_role("row")).to_have_count(11)
    await expect(section.locator("canvas")).to_have_count(2)
