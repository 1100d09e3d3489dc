import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from unit.worker.load_test.made import measurement, point, report

from worker_svc.load_test import text_formats
from worker_svc.load_test.errors import UsageError
from worker_svc.load_test.report import Report, load

MADE = report(
    {
        point(1): [measurement(100), measurement(300), measurement(200, errors={"rng": {"UNAVAILABLE": 2}})],
        point(256): [measurement(400, asked_again=3)],
        point(4_096): [],
    }
)


def test_figures_are_medians_of_the_runs() -> None:
    first, second = MADE.results
    speed = first.summary.hashes_per_second
    assert (speed.median, speed.min, speed.max) == (200, 100, 300)
    assert first.summary.of_loop.median == pytest.approx(0.1)
    assert first.summary.of_best == pytest.approx(0.5)
    assert second.summary.of_best == 1
    assert first.summary.cpu_seconds_per_million_hashes["rng"] == pytest.approx(0.25 * 1e6 / 200)
    assert first.summary.errors == {"rng": {"UNAVAILABLE": 2}}
    assert second.summary.asked_again == 3


def test_a_report_written_and_read_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(MADE.to_json())
    assert load(file) == MADE
    assert json.loads(file.read_text())["complete"] is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no report"),
        ("[]", "no report"),
        ("{}", "no report"),
        ('{"points": 7}', "no report"),
        (json.dumps({**json.loads(MADE.to_json()), "version": 99}), "of version 1"),
    ],
)
def test_a_file_that_is_no_report_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "report.json")


def test_comma_separated_has_a_line_a_point() -> None:
    rows = list(csv.DictReader(text_formats.comma_separated(MADE).splitlines()))
    assert [row["batch_size"] for row in rows] == ["1", "256"]
    assert float(rows[0]["hashes_per_second.median"]) == 200
    assert float(rows[1]["latency_seconds.total.p99"]) == 0.009
    assert rows[0]["errors.rng.UNAVAILABLE"] == "2"
    assert rows[1]["errors.rng.UNAVAILABLE"] == ""


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


def test_the_headline_names_the_fastest() -> None:
    assert MADE.headline.startswith("Fastest: 400 hashes/s (stream, batch 256")


def test_a_narrow_terminal_cuts_no_number() -> None:
    text = io.StringIO()
    text_formats.show_all(MADE, Console(file=text, width=40))
    assert "…" not in text.getvalue()
    assert "rng UNAVAILABLE 2" in text.getvalue()
