import re
from html.parser import HTMLParser

from unit.worker.load_test.made import measurement, point, report

from worker_svc.load_test import comparison, html_page
from worker_svc.load_test.point import Mode

MADE = report(
    {
        point(batch, mode=mode): [measurement(100.0 * batch), measurement(120.0 * batch)]
        for mode in Mode
        for batch in (1, 256, 65_536)
    },
    problem="hasher at <somewhere> is lost",
)
PAGE = html_page.page(MADE, None, [])


def test_the_page_needs_nothing_else() -> None:
    assert not re.search(r"""(?:src|href)=["'](?!data:,)|url\(|@import|<script""", PAGE)


def test_what_is_shown_is_text_and_no_markup() -> None:
    assert "&lt;somewhere&gt;" in PAGE
    assert "a &lt;fast&gt; one" in PAGE
    assert "<somewhere>" not in PAGE


def test_all_that_is_opened_is_closed() -> None:
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in {"meta", "link", "path"}:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag != "path":
                assert open_tags.pop() == tag

    Checker().feed(PAGE)
    assert not open_tags


def test_curves_have_a_mark_for_each_point() -> None:
    speed, latency = re.findall(r'<svg viewBox="0 0 720.*?</svg>', PAGE, re.DOTALL)
    assert speed.count('class="mark"') == 6 + 3
    assert latency.count('class="mark"') == 12
    assert "batch 65,536: 7,208,960 hashes/s" in speed
    assert "p99 9 ms" in latency


def test_one_point_makes_a_page() -> None:
    assert "<svg" in html_page.page(report({point(): [measurement()]}), None, [])


def test_a_point_that_stood_still_makes_a_page() -> None:
    assert "<svg" in html_page.page(report({point(): [measurement(0)]}), None, [])


def test_changes_are_shown() -> None:
    changes = comparison.grid(comparison.compare(MADE, MADE))
    page = html_page.page(MADE, changes, ["not as it was: machine cores: 2, now 8"])
    assert "the same" in page
    assert "machine cores: 2, now 8" in page
