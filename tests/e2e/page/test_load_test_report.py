"""What people do with a load test's report, in a real Chromium."""

import json
from importlib import resources
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Page, expect
from support.chromium import Open, shoot
from support.load_test_reports import measurement, point, report

from load_test.comparison import compare
from load_test.measurement import Second
from load_test.output import html_page
from load_test.report import Mode, Report

AXE = resources.files("axe_playwright_python") / "axe.min.js"

pytestmark = pytest.mark.asyncio(loop_scope="session")


def made(factor: float) -> Report:
    seconds = [Second(factor * 1_000, 0.001, 0.002), Second(0, 0, 0), Second(factor * 900, 0.001, 1.0)]
    buckets = [(0.001, 900), (0.00126, 95), (1.0, 5)]
    runs = {
        point(size, mode=mode): [
            measurement(factor * noise * size, per_second=seconds, histogram=buckets) for noise in (1_000, 1_010, 990)
        ]
        for mode in (Mode.STREAM, Mode.UNARY)
        for size in (1, 16, 256)
    }
    return report(runs)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A page that compares a report with an earlier one."""
    earlier, now = made(1.0), made(0.5)
    path = tmp_path / "report.html"
    path.write_text(html_page(now, compare(earlier, now, 0.05)))
    return path


async def hover(page: Page, chart: str, part: float, *, to: float | None = None) -> None:
    """Point at a part of a chart's width, or drag from there to another."""
    figure = page.locator("figure", has_text=chart)
    await figure.scroll_into_view_if_needed()
    box = await figure.locator("> svg").bounding_box()
    assert box
    await page.mouse.move(box["x"] + part * box["width"], box["y"] + 60)
    if to is not None:
        await page.mouse.down()
        await page.mouse.move(box["x"] + to * box["width"], box["y"] + 60, steps=4)
        await page.mouse.up()


async def test_charts_show_values_can_be_zoomed_and_what_they_show_is_chosen(open_file: Open, file: Path) -> None:
    page = await open_file(file.as_uri())
    await expect(page.locator("figure")).to_have_count(6)
    speed = page.locator("figure", has_text="Speed over batch size")
    tip, lines = speed.locator(".tip"), speed.locator("> svg .line")
    await expect(tip).to_be_hidden()
    await hover(page, "Speed over batch size", 0.12)
    await expect(tip).to_contain_text("stream, earlier: 1 k (990 to 1.01 k)")
    await expect(lines).to_have_count(5)
    await speed.get_by_role("button", name="unary, earlier").click()
    await expect(lines).to_have_count(4)
    await hover(page, "p99 over time", 0.97)
    await expect(page.locator("figure", has_text="p99 over time").locator(".tip")).to_contain_text("1 s, run 3")
    await hover(page, "Speed over batch size", 0.3, to=0.99)
    await speed.locator("> svg").focus()
    await page.keyboard.press("ArrowRight")
    await expect(tip).to_contain_text("batch of 16")
    await speed.get_by_role("button", name="Reset zoom").click()
    await speed.locator("> svg").focus()
    await page.keyboard.press("ArrowRight")
    await expect(tip).to_contain_text("batch of 1\n")
    assert "slower" in await page.locator("table").first.inner_text()


async def test_any_two_reports_are_compared_in_the_page(open_file: Open, tmp_path: Path) -> None:
    page_file, other, odd = (tmp_path / name for name in ("page.html", "other.json", "odd.json"))
    page_file.write_text(html_page(made(1.0), None))
    other.write_text(made(2.0).to_json())
    odd.write_text(json.dumps({"format": "odd"}))
    page = await open_file(page_file.as_uri())
    await expect(page.locator("figure")).to_have_count(5)
    await page.locator("#other").set_input_files(odd)
    await expect(page.locator("#said")).to_contain_text("can't be used")
    await page.locator("#other").set_input_files(other)
    await expect(page.locator("#said")).to_contain_text("Dashed: the report of 2026-01-02")
    await hover(page, "Speed over batch size", 0.12)
    await expect(page.locator("figure", has_text="Speed over batch size").locator(".tip")).to_contain_text("2 k")


# The heights of all labels of charts in pixels, and by how much each sticks out of its chart.
LABELS = """[...document.querySelectorAll("figure > svg")].flatMap((svg) => {
  const chart = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map((label) => {
    const { left, right, height } = label.getBoundingClientRect();
    return [height, Math.max(chart.left - left, right - chart.right)];
  });
})"""


@pytest.mark.parametrize(("width", "media"), [(1280, "screen"), (390, "screen"), (718, "print")])
async def test_labels_of_charts_can_be_read_on_a_screen_a_phone_and_on_a4(
    open_file: Open, file: Path, width: int, media: Literal["screen", "print"]
) -> None:
    page = await open_file(file.as_uri(), viewport={"width": width, "height": 1000})
    await page.emulate_media(media=media)
    drawn = "0 0 720 400" if width == 1280 else "0 0 440 280"
    await expect(page.locator("figure > svg").last).to_have_attribute("viewBox", drawn)
    heights, outside = zip(*await page.evaluate(LABELS), strict=True)
    assert min(heights) > 11
    assert max(outside) <= 0
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_report_is_accessible_and_prints_in_light_colours(open_file: Open, file: Path, scheme: str) -> None:
    page = await open_file(file.as_uri(), color_scheme=scheme)
    await page.evaluate(AXE.read_text())
    assert (await page.evaluate("axe.run()"))["violations"] == []
    await shoot(page, f"load-test-report-{scheme}")
    await page.emulate_media(media="print")
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    await expect(page.locator("#other")).to_be_hidden()
    await shoot(page, f"load-test-report-{scheme}-print")
