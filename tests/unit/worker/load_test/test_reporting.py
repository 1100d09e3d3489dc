"""What becomes of measurements: a report in each form, and a comparison with an earlier one."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.load_test_reports import measurement, point, report

from worker_svc.load_test import comparison, html_page, text_formats, welch
from worker_svc.load_test.errors import UsageError
from worker_svc.load_test.point import Mode
from worker_svc.load_test.progress import Progress
from worker_svc.load_test.report import Report, load

MADE = report(
    {
        point(1): [measurement(100), measurement(300), measurement(200, errors={"rng": {"UNAVAILABLE": 2}})],
        point(256): [measurement(400, asked_again=3)],
        point(4_096): [],
    }
)


def test_figures_are_medians_of_the_runs() -> None:
    first, second = (result.summary for result in MADE.results)
    speed = first.hashes_per_second
    assert (speed.median, speed.min, speed.max) == (200, 100, 300)
    assert (first.of_loop.median, first.of_best, second.of_best) == pytest.approx((0.1, 0.5, 1))
    assert first.cpu_seconds_per_million_hashes["rng"] == pytest.approx(0.25 * 1e6 / 200)
    assert (first.errors, second.asked_again) == ({"rng": {"UNAVAILABLE": 2}}, 3)
    assert MADE.headline.startswith("Fastest: 400 hashes/s (stream, batch 256")


def test_a_report_written_and_read_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(MADE.to_json())
    assert load(file) == MADE
    assert json.loads(file.read_text())["complete"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "no report"),
        ("[]", "no report"),
        ('{"points": 7}', "no report"),
        (json.dumps({**json.loads(MADE.to_json()), "version": 99}), "of version 1"),
    ],
)
def test_a_file_that_is_no_report_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load(file)


def test_comma_separated_has_a_line_for_each_point() -> None:
    rows = list(csv.DictReader(text_formats.comma_separated(MADE).splitlines()))
    assert [row["batch_size"] for row in rows] == ["1", "256"]
    assert float(rows[0]["hashes_per_second.median"]) == 200
    assert float(rows[1]["latency_seconds.total.p99"]) == 0.009
    assert [row["errors.rng.UNAVAILABLE"] for row in rows] == ["2", ""]


@pytest.mark.parametrize("write", [text_formats.markdown, text_formats.table])
def test_tables_show_speed_and_errors(write: Callable[[Report], str]) -> None:
    text = write(MADE)
    assert "200" in text
    assert "rng UNAVAILABLE 2" in text
    assert "total" in text


def test_markdown_tables_have_as_many_cells_in_each_line() -> None:
    for table in text_formats.markdown(MADE).split("\n**"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1


def test_a_narrow_terminal_cuts_no_number() -> None:
    text = io.StringIO()
    text_formats.show_all(MADE, Console(file=text, width=40))
    assert "…" not in text.getvalue()
    assert "rng UNAVAILABLE 2" in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_line_that_changes_on_a_terminal_and_a_line_a_run_elsewhere(*, terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200)
    with Progress(console, 3, 10.0) as shown:
        shown.begin(point(1))
        shown.end(point(1), measurement(1_234))
        shown.begin(point(16))
        if terminal:
            console.print(shown._line())
    if terminal:
        assert "run 2 of 3, 0:00 left: stream, batch 16" in text.getvalue()
    else:
        lines = text.getvalue().splitlines()
        assert lines[0] == "3 runs, about 0:30"
        assert lines[1].startswith("1 of 3: stream, batch 1, window 8, message 32: 1,234 hashes/s, ")


CURVES = report(
    {
        point(batch, mode=mode): [measurement(100.0 * batch), measurement(120.0 * batch)]
        for mode in Mode
        for batch in (1, 256, 65_536)
    },
    problem="hasher at <somewhere> is lost",
)


def test_the_page_needs_no_other_file_and_shows_text_and_no_markup() -> None:
    page = html_page.page(CURVES, None, [])
    assert not re.search(r"""(?:src|href)=["'](?!data:,)|url\(|@import|<script""", page)
    assert "&lt;somewhere&gt;" in page
    assert "a &lt;fast&gt; one" in page
    assert "<somewhere>" not in page
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in {"meta", "link", "path"}:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag != "path":
                assert open_tags.pop() == tag

    Checker().feed(page)
    assert not open_tags


def test_curves_have_a_mark_for_each_point() -> None:
    speed, latency = re.findall(r'<svg viewBox="0 0 720.*?</svg>', html_page.page(CURVES, None, []), re.DOTALL)
    assert speed.count('class="mark"') == 6 + 3
    assert latency.count('class="mark"') == 12
    assert "batch 65,536: 7,208,960 hashes/s" in speed
    assert "p99 9 ms" in latency


@pytest.mark.parametrize("speed", [1_000, 0])
def test_one_point_makes_a_page_though_it_stood_still(speed: float) -> None:
    assert "<svg" in html_page.page(report({point(): [measurement(speed)]}), None, [])


def test_the_page_shows_changes() -> None:
    changes = comparison.grid(comparison.compare(CURVES, CURVES))
    page = html_page.page(CURVES, changes, ["not as it was: machine cores: 2, now 8"])
    assert "the same" in page
    assert "machine cores: 2, now 8" in page


BEFORE = report({point(): [measurement(speed) for speed in (1_000, 1_010, 990)]})


@pytest.mark.parametrize(
    ("before", "now", "verdict", "limit", "fails"),
    [
        ((1_000, 1_010, 990), (1_005, 985, 1_012), "the same", 0.9, False),
        ((1_000, 1_010, 990), (700, 710, 690), "slower", 0.9, True),
        ((1_000, 1_010, 990), (700, 710, 690), "slower", 0.5, False),
        ((1_000, 1_010, 990), (900, 700, 1_100), None, 0.95, False),
        ((1_000,), (890,), None, 0.9, True),
        ((1_000, 1_010, 990), (0, 0), None, 0.1, True),
    ],
    ids=["the same", "slower", "slower than allowed by less", "within the noise", "single runs", "stood still"],
)
def test_a_point_fails_below_a_ratio_unless_that_may_be_noise(
    before: tuple[int, ...], now: tuple[int, ...], verdict: str | None, limit: float, *, fails: bool
) -> None:
    earlier, later = (report({point(): [measurement(speed) for speed in speeds]}) for speeds in (before, now))
    changes = comparison.compare(earlier, later)
    assert verdict in {None, comparison.verdict(changes[0])}
    lines = comparison.too_slow(changes, limit)
    assert len(lines) == fails
    assert all(line.startswith(f"slower than {limit} of the earlier speed: stream, batch 256") for line in lines)


def test_with_a_rate_latency_decides() -> None:
    paced = point(rate="1000")
    before = report({paced: [measurement(p99=p99) for p99 in (0.010, 0.011, 0.0105)]})
    now = report({paced: [measurement(p99=p99) for p99 in (0.020, 0.021, 0.022)]})
    (change,) = comparison.compare(before, now)
    assert comparison.verdict(change) == "later"


def test_only_points_that_both_have_are_compared_and_another_machine_is_mentioned() -> None:
    machine = {**BEFORE.machine, "cores": 8, "load_before": 7.0}
    now = report({point(): [measurement(), measurement()], point(1): [measurement()]}, machine=machine)
    changes = comparison.compare(BEFORE, now)
    assert [change.now.point for change in changes] == [point()]
    assert set(comparison.differences(BEFORE, now)) == {
        "points only in the earlier report: 0, only in this one: 1",
        "not as it was: machine cores: 2, now 8",
    }
    grid = comparison.grid(changes)
    (row,) = grid.rows
    assert len(row) == len(grid.headers)
    assert (row[0], row[-1]) == ("256", "the same")


def test_the_interval_is_that_of_welch() -> None:
    """By hand: variances 0.01 and 0.0025 of 3 runs each make 2.9 degrees of freedom, rounded down, so t is 4.303."""
    before = [math.exp(value) for value in (0.0, 0.1, -0.1)]
    after = [math.exp(value) for value in (0.1, 0.15, 0.05)]
    ratio = welch.ratio(before, after)
    assert ratio is not None
    margin = 4.303 * math.sqrt(0.01 / 3 + 0.0025 / 3)
    assert math.log(ratio.value) == pytest.approx(0.1)
    assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx((0.1 - margin, 0.1 + margin))
    assert not ratio.changed


def test_a_single_run_has_no_known_noise() -> None:
    ratio = welch.ratio([100], [90, 91])
    assert ratio is not None
    assert not ratio.noise_known
    assert "(?)" in str(ratio)


speeds = st.lists(st.floats(1, 1e6), min_size=2, max_size=10)


@given(speeds, speeds)
def test_the_other_way_round_it_is_the_inverse(before: list[float], after: list[float]) -> None:
    ratio, inverse = welch.ratio(before, after), welch.ratio(after, before)
    assert ratio is not None
    assert inverse is not None
    assert math.log(ratio.low) == pytest.approx(-math.log(inverse.high), abs=1e-9)
    assert ratio.low <= ratio.value <= ratio.high
