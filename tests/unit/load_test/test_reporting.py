import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.load_test_reports import measurement, point, report

from load_test import UsageError, tables
from load_test.comparison import compare
from load_test.conditions import Condition
from load_test.machine import Disturbances, quietness
from load_test.output import html_page
from load_test.report import Mode, load

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
    assert MADE.points[0].errors == 2
    assert MADE.points[0].error_part == pytest.approx(2 / 3)


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


@pytest.mark.parametrize(
    ("condition", "failures"),
    [
        ("p99<50ms", []),
        ("p99<8ms", ["--fail p99<8ms: 9 ms at stream, batch 1,", "--fail p99<8ms: 9 ms at stream, batch 256,"]),
        ("p99.9 <= 20ms", []),
        ("max<1us", ["2.7e+04 us at stream, batch 1,", "2.7e+04 us at stream, batch 256,"]),
        ("errors<0.1%", ["--fail errors<0.1%: 66.67 % at stream, batch 1,"]),
        ("speed>0.3k", ["--fail speed>0.3k: 0.2 k at stream, batch 1,"]),
    ],
)
def test_a_condition_that_a_point_does_not_meet_is_named_with_its_value(condition: str, failures: list[str]) -> None:
    lines = Condition.parse(condition).failures(MADE.points)
    assert len(lines) == len(failures)
    assert all(expected in line for expected, line in zip(failures, lines, strict=True))


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_nothing_is_wider_than_the_terminal_and_no_number_is_lost(width: int) -> None:
    histogram = [(0.01, 5), (0.0126, 1_000_000)]
    runs = {point(4**index, window=index + 1): [measurement(1e9, histogram=histogram)] for index in range(9)}
    text = io.StringIO()
    tables.print_report(report(runs), Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if line and not line.startswith(" ")][:1] == ["Speed"]
    for expected in ("1,000,000,000", "65,536", "vs.", "hasher", "1,000,000", "0 in 35,156,250"):
        assert expected in text.getvalue()


def test_a_busy_machine_is_said() -> None:
    """Load, steal time and throttling come from the kernel; an earlier report has only the load."""
    machine = {"cores": 4, "load_before": 0.2}
    assert quietness(machine) == (
        False,
        "quiet: load 0.20 on 4 cores before, no steal time, not throttled by a cgroup, not by heat",
    )
    for figure, expected in (
        ({"load_before": 2.5}, "busy: load 2.50 on 4 cores"),
        ({"steal_percent": 3.2}, "3.2 % of the CPU time stolen"),
        ({"throttled_seconds": 1.5}, "1.5 s throttled by a cgroup"),
        ({"thermal_throttles": 7}, "7 thermal throttles"),
    ):
        busy, line = quietness({**machine, **figure})
        assert busy
        assert expected in line


def test_what_disturbs_is_read_from_the_kernel(tmp_path: Path) -> None:
    thermal = tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle"
    for folder in ("proc/self", "sys/fs/cgroup/a", str(thermal)):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")

    def write(steal: int, throttled_us: int, throttles: int) -> None:
        (tmp_path / "proc/stat").write_text(f"cpu  100 0 0 {900 - steal} 0 0 0 {steal} 0 0\ncpu0 1\n")
        (tmp_path / "sys/fs/cgroup/a/cpu.stat").write_text(f"usage_usec 7\nthrottled_usec {throttled_us}\n")
        (thermal / "core_throttle_count").write_text(f"{throttles}\n")

    write(0, 1_000_000, 5)
    disturbances = Disturbances(tmp_path)
    write(0, 3_500_000, 6)
    (tmp_path / "proc/stat").write_text("cpu  150 0 0 940 0 0 0 10 0 0\n")
    assert disturbances.since() == {"steal_percent": 10.0, "throttled_seconds": 2.5, "thermal_throttles": 1}
    assert Disturbances(tmp_path / "nothing").since()["steal_percent"] == 0


CURVES = report(
    {
        point(batch, mode=mode): [measurement(100.0 * batch), measurement(101.0 * batch), measurement(100.0 * batch)]
        for mode in (Mode.STREAM, Mode.UNARY)
        for batch in (1, 256, 65_536)
    },
    problem="hasher at <somewhere> is lost",
)


def test_the_page_needs_no_other_file_and_contains_both_reports_and_the_changes() -> None:
    earlier = replace(CURVES, machine={**CURVES.machine, "cores": 8})
    page = html_page(CURVES, compare(earlier, CURVES, 0.05))
    assert not re.search(r"""(?:src|href)=["'](?!data:,)|url\(|@import""", page)
    for text in ("&lt;somewhere&gt;", "a &lt;fast&gt; one", "no change", "machine cores: 8, now 2"):
        assert text in page
    assert "<somewhere>" not in page
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert embedded
    data = json.loads(embedded[1])
    assert [data["report"], data["earlier"]] == [json.loads(each.to_json()) for each in (CURVES, earlier)]
    assert [change["verdict"] for change in data["changes"]] == ["no change"] * 6
    stood_still = report({point(): [measurement(0)]})
    assert '"changes":[]' in html_page(stood_still, compare(CURVES, stood_still, 0.05))
