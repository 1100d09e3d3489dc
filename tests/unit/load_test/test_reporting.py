import csv
import json
import re
from pathlib import Path

import pytest
from support.load_test_reports import measurement, point, report

from load_test import UsageError, comparison, html_page, tables
from load_test.options import Mode
from load_test.report import load

MADE = report(
    {
        point(1): [measurement(100), measurement(300), measurement(200, unavailable=2)],
        point(256): [measurement(400, resent=3)],
        point(4_096): [],
    }
)


def test_figures_are_medians_of_the_runs() -> None:
    first, second = (result.summary for result in MADE.points)
    speed = first.hashes_per_second
    assert (speed.median, speed.min, speed.max) == (200, 100, 300)
    assert (first.vs_baseline.median, first.vs_best, second.vs_best) == pytest.approx((0.1, 0.5, 1))
    assert first.cpu_seconds_per_million_hashes["rng"] == pytest.approx(0.25 * 1e6 / 200)
    assert (first.errors, second.resent) == ({"rng": {"UNAVAILABLE": 2}}, 3)
    assert MADE.headline.startswith("Fastest: 400 hashes/s (stream, batch 256")


def test_a_report_written_and_read_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(MADE.to_json())
    assert load("--compare", file) == MADE
    assert json.loads(file.read_text())["complete"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "no report"),
        ('{"points": 7}', "no report"),
        (json.dumps({**json.loads(MADE.to_json()), "version": 99}), "of version 2"),
    ],
)
def test_a_file_that_is_no_report_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load("--compare", file)


def test_every_text_has_the_speed_and_the_errors_of_each_point() -> None:
    rows = list(csv.DictReader(tables.comma_separated(MADE).splitlines()))
    assert [row["batch_size"] for row in rows] == ["1", "256"]
    assert float(rows[0]["hashes_per_second.median"]) == 200
    assert float(rows[1]["latency_seconds.total.p99"]) == 0.009
    assert [row["errors.rng.UNAVAILABLE"] for row in rows] == ["2", ""]
    for text in (tables.markdown(MADE), tables.plain(MADE)):
        assert all(expected in text for expected in ("200", "total", "rng UNAVAILABLE 2"))
        assert "…" not in text


CURVES = report(
    {
        point(batch, mode=mode): [measurement(100.0 * batch), measurement(101.0 * batch), measurement(100.0 * batch)]
        for mode in (Mode.STREAM, Mode.UNARY)
        for batch in (1, 256, 65_536)
    },
    problem="hasher at <somewhere> is lost",
)


def test_the_page_needs_no_other_file_and_shows_text_changes_and_a_mark_for_each_point() -> None:
    changes = tables.changes_grid(comparison.compare(CURVES, CURVES, 0.05), 0.05)
    page = html_page.page(CURVES, changes, ["not as it was: machine cores: 2, now 8"])
    assert not re.search(r"""(?:src|href)=["'](?!data:,)|url\(|@import|<script""", page)
    for text in ("&lt;somewhere&gt;", "a &lt;fast&gt; one", "no change", "machine cores: 2, now 8"):
        assert text in page
    assert "<somewhere>" not in page
    speed, latency = re.findall(r'<svg viewBox="0 0 720.*?</svg>', page, re.DOTALL)
    assert speed.count('class="mark"') == 6 + 3
    assert latency.count('class="mark"') == 12
    assert "unary, batch 65,536: 6,553,600 hashes/s" in speed
    assert "p99, batch 256: 9 ms" in latency
    stood_still = report({point(): [measurement(0)]})
    assert "<svg" in html_page.page(stood_still, None, [])
