from typing import Any

import pytest
from e2e.page.browser import Open, shoot, until_painted, until_text
from e2e.page.mining import Mining, load_test
from playwright.async_api import Page, expect

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
    "small-phone": {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark", "has_touch": True},
    "projector": {"viewport": {"width": 1920, "height": 1080}, "color_scheme": "light"},
}


@pytest.fixture
def busy(mining: Mining) -> Mining:
    """A system with something in every part of the page."""
    mining.workers = [f"worker-{number}-0000000{number}" for number in (1, 2, 3)]
    mining.rngs = {"rng-1": "serving", "rng-2": "late", "rng-3": "gone"}
    mining.hashers = {f"hasher-{number}": "serving" for number in range(1, 19)}
    mining.publish(load_test("2026-01-02T03:04:05+00:00"))
    mining.write_past(300)
    return mining


async def whole_page(open_page: Open, url: str, view: str) -> Page:
    page = await open_page(url, **VIEWS[view])
    await until_painted(page, "line", 0.4)
    await until_text(page, "#status", "^Live$")
    await expect(page.get_by_role("group", name="hasher")).to_contain_text("+2 more")
    await expect(page.get_by_role("region", name="Load tests").locator("canvas")).to_have_count(2)
    return page


@pytest.mark.parametrize("view", VIEWS)
async def test_nothing_is_cut_off_and_axe_finds_nothing(
    open_page: Open, url: str, busy: Mining, axe: str, view: str
) -> None:
    page = await whole_page(open_page, url, view)
    await shoot(page, view)
    width, shown = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= shown
    await page.evaluate(axe)
    for by in ("By worker", "Total"):
        await page.get_by_role("radio", name=by).press("Space")
        await page.wait_for_timeout(1_000)  # transitions are not judged
        found = await page.evaluate("axe.run()")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


async def test_motion_stops_where_it_is_not_wanted(open_page: Open, url: str, busy: Mining) -> None:
    running = "document.getAnimations().filter((each) => each.playState === 'running').length"
    page = await whole_page(open_page, url, "light")
    assert await page.evaluate(running) > 0
    await page.emulate_media(reduced_motion="reduce")
    await page.wait_for_function(f"() => {running} === 0")


async def test_numbers_are_in_the_readers_notation(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(300)
    page = await open_page(url, locale="de-DE")
    await until_text(page, "#speed", "^10,0$")
    await until_text(page, "#hashes", r"^\d\.\d\d\d$")


async def test_only_the_status_speaks_up(open_page: Open, url: str, busy: Mining) -> None:
    page = await whole_page(open_page, url, "light")
    live = (
        "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')].map((each) => each.id)"
    )
    assert await page.evaluate(live) == ["status"]
