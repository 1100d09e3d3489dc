import errno
import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from aiohttp import ClientConnectionError
from aiohttp.http_exceptions import BadHttpMessage
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found] # it has no types
from structlog.testing import capture_logs

from chassis import log
from chassis.log import ThrottledLogger
from chassis.log_output import LogOutput
from chassis.settings import LogFormat, LogLevel

FAILURE = "ValueError: invalid literal for int() with base 10: 'broken'"


@pytest.fixture(autouse=True)
def untouched_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # those of pytest are not to be closed
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def configure(log_format: LogFormat, level: LogLevel = LogLevel.INFO) -> LogOutput:
    return log.configure(level, log_format, service="rng", instance="rng-1")


def fail_and_log(logger: Any) -> None:
    try:
        int("broken")
    except ValueError:
        logger.exception("failed")


def output_lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.endswith("\n")
    return captured.out.splitlines()


def test_a_json_event_is_one_line_with_who_said_it(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.JSON)
    log.get(part="server").info("two\nlines", address="127.0.0.1:1", code=3, value=b"\xff", error=OSError("gone"))
    [line] = output_lines(capfd)
    event = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {
        "event": "two\nlines", "level": "info", "service": "rng", "instance": "rng-1", "part": "server",
        "address": "127.0.0.1:1", "code": 3, "value": "b'\\xff'", "error": "gone",
    }  # fmt: skip


def test_a_console_event_is_one_line_without_what_the_terminal_already_says(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.CONSOLE)
    log.get().warning("listening\non", address="127.0.0.1:1", cause="two\nlines")
    [line] = output_lines(capfd)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[warning *\] listening on +address=127\.0\.0\.1:1 cause='two\\nlines'", line
    ), line


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_an_exception_is_logged_with_its_traceback(log_format: LogFormat, capfd: pytest.CaptureFixture[str]) -> None:
    """As one line of JSON, and as Python shows it on the console."""
    configure(log_format)
    for logger in (log.get(), logging.getLogger("grpc")):
        fail_and_log(logger)
        first, *others = output_lines(capfd)
        assert "failed" in first
        if log_format is LogFormat.JSON:
            assert others == []
            assert json.loads(first)["exception"].endswith(FAILURE)
        else:
            assert others[-1] == FAILURE


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_only_what_is_severe_enough_is_logged_and_only_the_troubles_of_libraries(
    capfd: pytest.CaptureFixture[str], level: str, shown: int
) -> None:
    configure(LogFormat.JSON, LogLevel(level))
    for method in ("debug", "info", "warning", "error"):
        getattr(log.get(), method)("event")
    logging.getLogger("asyncio").info("Using selector")
    assert len(output_lines(capfd)) == shown


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [(False, {}, False), (True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {"FORCE_COLOR": "1"}, True),
     (False, {"FORCE_COLOR": ""}, False), (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
     (False, {"FORCE_COLOR": "1", "NO_COLOR": ""}, True)],
)  # fmt: skip
def test_colours_are_used_where_they_are_asked_for_and_never_where_they_are_not_wanted(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,  # noqa: FBT001 - a parameter of the test
    environment: dict[str, str],
    coloured: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr("os.isatty", lambda _: terminal)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output = configure(LogFormat.CONSOLE)
    log.get().info("listening")
    logging.getLogger("grpc").warning("lost it")
    output.close(10)  # a thread writes to terminals
    assert ["\x1b[" in line for line in output_lines(capfd)] == [coloured, coloured]


def test_lost_lines_are_announced_like_any_event(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(LogFormat.JSON)
    with monkeypatch.context() as patch:
        patch.setattr("os.write", Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
        log.get().info("first")
        log.get().info("second")
    log.get().info("third")
    [third, announced] = output_lines(capfd)
    assert "third" in third
    assert all(each in announced for each in ("error", "log lines were lost", "2", "Input/output error"))


def test_no_http_and_a_client_that_is_gone_fill_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.CONSOLE)
    aiohttp_server = logging.getLogger("aiohttp.server")
    aiohttp_server.error("Error handling request", exc_info=BadHttpMessage("what was sent"))
    aiohttp_server.error("Error handling request", exc_info=ClientConnectionError("our own failure"))
    logging.getLogger("grpc._cython.cygrpc").error("raised in core", exc_info=ExecuteBatchError("a client is gone"))
    fail_and_log(aiohttp_server)
    assert FAILURE in (text := capfd.readouterr().out)
    assert "our own failure" in text
    assert "what was sent" not in text
    assert "raised in core" not in text


def test_a_storm_is_one_line_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the latest fields, the number of occurrences, and, for those held back, the time of the last one."""
    clock = Mock(return_value=1_000.0)
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr("time.time", lambda: clock() + 3_600)
    trouble = ThrottledLogger("trouble", interval_s=10, level="error", to="rng")

    def storm() -> None:
        for number in range(6):
            clock.return_value += 1
            trouble.log(cause=number)
            trouble.flush()

    line = {"event": "trouble", "log_level": "error", "to": "rng"}
    with capture_logs() as lines:
        storm()
        assert lines == [{**line, "cause": 0, "times": 1}], "at once"
        clock.return_value += 60
        trouble.flush()
        assert lines[1:] == [{**line, "cause": 5, "times": 5, "timestamp": 4_606}]
        storm()
        clock.return_value += 60
        trouble.log(cause="new")
        assert lines[2:] == [{**line, "cause": "new", "times": 7}]
        storm()
        trouble.clear()
        trouble.close()
        assert len(lines) == 3, "a condition that has ended is not logged any more"
        trouble.log(cause="last")
        trouble.close()
        trouble.close()
        assert [(each["cause"], each["times"]) for each in lines[3:]] == [("last", 1)], "even within the interval"
    assert trouble.times == 3 * 6 + 2
