import math
import re
from itertools import product
from pathlib import Path

import pytest

from chassis.settings import LogLevel
from load_test import UsageError
from load_test.options import parse
from load_test.report import Mode
from load_test.sweep import plan, rounds

ROOT = Path(__file__).parents[3]


def test_every_command_of_the_pages_is_understood() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    lines = [line for page in pages for line in re.findall(r'make load-test ARGS="([^"]*)"', page.read_text())]
    assert lines
    for line in lines:
        parse(line.split())


def test_the_environment_applies_where_the_command_line_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RNG_TARGET": "dns:///r:1", "HASHER_TARGET": "dns:///h:1", "WINDOW_SIZE": "3", "MAX_ENDPOINTS": "5"}
    for name, value in {**environment, "LOG_LEVEL": "info", "REDIS_URL": "redis://r:1"}.items():
        monkeypatch.setenv(name, value)
    options = parse(["--windows", "7", "--hasher-target", "dns:///h:2", "--publish"])
    assert options.targets == {"rng": "dns:///r:1", "hasher": "dns:///h:2"}
    assert (options.windows, options.settings.max_endpoints) == ((7,), 5)
    assert options.log_level is LogLevel.INFO
    assert options.publish
    assert options.publish.url == "redis://r:1"


def test_a_file_s_ending_decides_its_format_unless_one_is_named() -> None:
    for ending, expected in (("json", "json"), ("csv", "csv"), ("md", "markdown"), ("txt", "table")):
        assert parse(["--output", f"x.{ending}"]).format == expected
        assert parse(["--output", f"x.{ending}", "--format", "json"]).format == "json"


def test_the_words_of_other_load_tests_are_understood() -> None:
    options = parse(["-c", "4,8", "-z", "1m", "--rps", "20..40"])
    assert (options.windows, options.duration, options.requests) == ((4, 8), 60, None)
    assert options.rate
    assert (options.rate.text, options.rate.hashes(100).parts) == ("20..40 batches", ((2_000, 4_000),))
    options = parse(["-n", "5000", "--fail", "p99<50ms", "--fail", "errors<=0.1%"])
    assert (options.requests, options.duration) == (5_000, math.inf)
    assert [condition.text for condition in options.fail] == ["p99<50ms", "errors<=0.1%"]
    assert [parse(["-d", text]).duration for text in ("2", "500ms", "1.5s")] == [2, 0.5, 1.5]
    with pytest.raises(SystemExit) as ended:
        parse(["--version"])
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--batch-sizes 65537", "'65537' is not allowed: it must be a whole number from 1 to 65536"),
        ("--batch-sizes 1,,2", "'' is not allowed"),
        ("--windows 5000", "a whole number from 1 to 4096 (batches in flight)"),
        ("--modes both", "'both' is not allowed: it must be stream or uncoalesced or unary"),
        ("--duration nan", "from 0.1 to 3600 seconds, such as 10, 10s or 2m"),
        ("-n 5 -z 10s", "not allowed with argument"),
        ("--rps 5 --rate 10", "not allowed with argument"),
        ("--fail p99<50", "one of p50, p90, p99, p99.9, max, errors, speed, then <, <=, >, >="),
        ("--fail p75<50ms", "one of p50"),
        ("--strict", "--strict needs --fail-below"),
        ("--rate 1..x", "it must be a rate per second, and not always 0: 10000, or 1000,5000,20000 for steps"),
        ("--format xml", "'xml' is not allowed: it must be table or json or csv or markdown"),
        ("--fail-below 0.9", "--fail-below needs an earlier report"),
        ("--html - --format json", "can't both go to standard output"),
        ("--batch 1", "unrecognized arguments: --batch 1"),
    ],
)
def test_a_word_that_is_not_allowed_is_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(line.split())
    assert ended.value.code == 2
    (text,) = capsys.readouterr().err.splitlines()
    assert text.startswith("load-test: ")
    assert message in text


def test_every_combination_is_a_point_once_and_every_other_round_goes_backwards() -> None:
    line = "--batch-sizes 16,1,16 --modes unary,stream,unary --windows 1,8 --message-sizes 32,64 --rate 10..20"
    points, notes = plan(parse(line.split()))
    assert len(points) == len(set(points)) == 16
    assert {(point.mode, point.batch_size) for point in points} == set(product((Mode.STREAM, Mode.UNARY), (16, 1)))
    assert {point.rate for point in points} == {"10..20"}
    assert not notes
    assert list(rounds(points, 3)) == [*points, *points[::-1], *points]


def test_a_point_that_is_too_large_is_left_out_with_a_note() -> None:
    """A batch is bounded in bytes, and so is a window, as the worker's are."""
    points, (note,) = plan(parse(["--batch-sizes", "1,65536", "--message-sizes", "64"]))
    assert [point.batch_size for point in points] == [1]
    assert re.search("65536.*2097152", note)
    points, notes = plan(parse(["--batch-sizes", "65536", "--windows", "32,64,128"]))
    assert [point.window for point in points] == [32]
    assert len(notes) == 2
    with pytest.raises(UsageError, match="no point is left"):
        plan(parse(["--batch-sizes", "65536", "--message-sizes", "64"]))
