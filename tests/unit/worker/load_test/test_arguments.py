from pathlib import Path

import pytest

from chassis.settings import LogLevel, SettingsError
from worker_svc.load_test import arguments
from worker_svc.load_test.point import Mode
from worker_svc.load_test.report_format import Format


def test_what_nobody_says_is_as_it_is_for_a_worker_at_full_pace() -> None:
    options = arguments.parse([])
    assert (options.windows, options.streams, options.message_sizes) == ((8,), (64,), (32,))
    assert options.batch_sizes[-1] == 65_536
    assert options.targets == {}
    assert options.log_level is LogLevel.ERROR
    assert options.writes_table


def test_the_environment_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RNG_TARGET": "dns:///r:1", "WINDOW_SIZE": "3", "STREAMS": "5", "LOG_LEVEL": "info"}.items():
        monkeypatch.setenv(name, value)
    options = arguments.parse(["--windows", "7"])
    assert options.targets == {"rng": "dns:///r:1"}
    assert (options.windows, options.streams) == ((7,), (5,))
    assert options.log_level is LogLevel.INFO


def test_a_named_target_comes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHER_TARGET", "dns:///h:1")
    assert arguments.parse(["--hasher-target", "dns:///h:2"]).targets == {"hasher": "dns:///h:2"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [([], None), (["--publish"], "redis://r:1"), (["--publish", "redis://r:2"], "redis://r:2")],
)
def test_a_report_is_published_where_that_is_wanted(
    line: list[str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://r:1")
    publish = arguments.parse(line).publish
    assert (publish and publish.url) == expected


def test_a_redis_that_is_none_is_refused_and_its_password_not_told() -> None:
    with pytest.raises(
        SettingsError, match=r"REDIS_URL='redis://\*\*\*@:x' is not allowed: it must be redis://HOST:PORT"
    ):
        arguments.parse(["--publish", "redis://:secret@:x"])


def test_lists_lose_what_they_have_twice() -> None:
    options = arguments.parse(["--batch-sizes", "4, 1,4", "--modes", "unary,stream,unary"])
    assert options.batch_sizes == (4, 1)
    assert options.modes == (Mode.UNARY, Mode.STREAM)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], Format.TABLE),
        (["--output", "x.json"], Format.JSON),
        (["--output", "x.csv"], Format.CSV),
        (["--output", "x.md"], Format.MARKDOWN),
        (["--output", "x.txt"], Format.TABLE),
        (["--output", "x.txt", "--format", "json"], Format.JSON),
    ],
)
def test_a_files_ending_decides_its_format(line: list[str], expected: Format) -> None:
    assert arguments.parse(line).format is expected


def test_a_dash_is_standard_output() -> None:
    options = arguments.parse(["--html", "-"])
    assert options.html == Path("-")
    assert not options.writes_table


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--batch-sizes 65537", "'65537' is not allowed: it must be a whole number from 1 to 65536"),
        ("--batch-sizes 0", "'0' is not allowed"),
        ("--batch-sizes 1,,2", "'' is not allowed"),
        ("--batch-sizes 1.5", "'1.5' is not allowed"),
        ("--windows 5000", "a whole number from 1 to 4096 (batches in flight)"),
        ("--streams many", "a whole number from 1 to 1024"),
        ("--message-sizes 3000000", "a whole number from 1 to 2097152"),
        ("--modes both", "'both' is not allowed: it must be stream or unary"),
        ("--duration 0", "a number from 0.1 to 3600 (seconds)"),
        ("--duration nan", "a number from 0.1"),
        ("--warm-up -1", "a number from 0 to 600"),
        ("--repeat 0", "a whole number from 1 to 1000"),
        ("--rate 1..x", "hashes/s: 10000, or 1000,5000,20000 for steps"),
        ("--format xml", "'xml' is not allowed: it must be table or json or csv or markdown"),
        ("--fail-below 0.9", "--fail-below needs an earlier report"),
        ("--html - --format json", "can't both go to standard output"),
        ("--batch 1", "unrecognized arguments: --batch 1"),
    ],
)
def test_what_is_not_allowed_is_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(line.split())
    assert ended.value.code == 2
    (text,) = capsys.readouterr().err.splitlines()
    assert text.startswith("load-test: ")
    assert said in text


def test_a_target_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="RNG_TARGET='nowhere' is not allowed"):
        arguments.parse(["--rng-target", "nowhere"])
