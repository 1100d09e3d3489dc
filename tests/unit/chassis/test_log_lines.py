import errno
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp import ClientConnectionError
from aiohttp.http_exceptions import BadHttpMessage
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found] # it has no types

from chassis import log
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
    log.get(part="server").info("two\nlines", address="127.0.0.1:1", code=3)
    [line] = output_lines(capfd)
    event = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {
        "event": "two\nlines", "level": "info", "service": "rng", "instance": "rng-1", "part": "server",
        "address": "127.0.0.1:1", "code": 3,
    }  # fmt: skip


def test_a_json_exception_is_one_line_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.JSON)
    fail_and_log(log.get())
    [line] = output_lines(capfd)
    assert json.loads(line)["exception"].endswith(FAILURE)


def test_a_json_event_may_hold_what_json_does_not_know(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.JSON)
    log.get().info("odd", value=b"\xff", error=OSError("gone"))
    [line] = output_lines(capfd)
    assert (json.loads(line)["value"], json.loads(line)["error"]) == ("b'\\xff'", "gone")


def test_a_console_event_is_one_line_without_what_the_terminal_already_says(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.CONSOLE)
    log.get().warning("listening", address="127.0.0.1:1", cause="two\nlines")
    [line] = output_lines(capfd)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[warning *\] listening +address=127\.0\.0\.1:1 cause='two\\nlines'", line), (
        line
    )


def test_an_exception_on_the_console_shows_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.CONSOLE)
    fail_and_log(log.get())
    lines = output_lines(capfd)
    assert "failed" in lines[0]
    assert lines[-1] == FAILURE


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_a_library_s_trouble_is_one_line_like_ours(capfd: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    configure(log_format)
    logging.getLogger("grpc").warning("lost %s", "it")
    [line] = output_lines(capfd)
    if log_format is LogFormat.JSON:
        event = json.loads(line)
        expected = {"event": "lost it", "logger": "grpc", "level": "warning", "service": "rng", "instance": "rng-1"}
        assert expected.items() <= event.items()
    else:
        assert "[warning" in line
        assert "lost it" in line


def test_a_library_s_exception_is_one_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.JSON)
    fail_and_log(logging.getLogger("grpc"))
    [line] = output_lines(capfd)
    assert json.loads(line)["exception"].endswith(FAILURE)


def test_what_a_library_says_without_trouble_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.JSON, LogLevel.DEBUG)
    logging.getLogger("asyncio").info("Using selector")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_only_what_is_severe_enough_is_logged(capfd: pytest.CaptureFixture[str], level: str, shown: int) -> None:
    configure(LogFormat.JSON, LogLevel(level))
    for method in ("debug", "info", "warning", "error"):
        getattr(log.get(), method)("event")
    assert len(output_lines(capfd)) == shown


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": ""}, False), ({"NO_COLOR": "1"}, False),
     ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True)],
)  # fmt: skip
def test_colours_are_used_where_they_are_asked_for_and_never_where_they_are_not_wanted(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    coloured: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    configure(LogFormat.CONSOLE)
    log.get().info("listening")
    logging.getLogger("grpc").warning("lost it")
    assert [("\x1b[" in line) for line in output_lines(capfd)] == [coloured, coloured]


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_they_are_not_wanted(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    coloured: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr("os.isatty", lambda _: True)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output = configure(LogFormat.CONSOLE)
    log.get().info("listening")
    output.close(10)  # a thread writes to terminals
    assert ("\x1b[" in capfd.readouterr().out) is coloured


def test_json_is_never_coloured(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    configure(LogFormat.JSON)
    log.get().info("listening")
    assert "\x1b[" not in capfd.readouterr().out


def test_an_event_of_several_lines_is_one_on_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.CONSOLE)
    logging.getLogger("asyncio").error("Task was destroyed\ntask: %s", "x")
    [line] = output_lines(capfd)
    assert "Task was destroyed task: x" in line


def test_an_event_that_is_logged_later_has_the_time_at_which_it_happened(capfd: pytest.CaptureFixture[str]) -> None:
    at = 1_800_000_000.25
    configure(LogFormat.JSON)
    log.get().info("event", timestamp=at)
    configure(LogFormat.CONSOLE)
    log.get().info("event", timestamp=at)
    machine, people = output_lines(capfd)
    assert json.loads(machine)["timestamp"] == "2027-01-15T08:00:00.250000Z"
    assert people.startswith(time.strftime("%H:%M:%S ", time.localtime(at)))


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_lost_lines_are_announced_like_any_event(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, log_format: LogFormat
) -> None:
    configure(log_format)
    with monkeypatch.context() as patch:
        patch.setattr("os.write", fail)
        log.get().info("first")
        log.get().info("second")
    log.get().info("third")
    [third, announced] = output_lines(capfd)
    assert "third" in third
    assert all(each in announced for each in ("error", "log lines were lost", "2", "Input/output error"))


def fail(*_: object) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_no_http_and_a_client_that_is_gone_fill_no_log(
    log_format: LogFormat, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(log_format)
    aiohttp_server = logging.getLogger("aiohttp.server")
    aiohttp_server.error("Error handling request", exc_info=BadHttpMessage("what was sent"))
    aiohttp_server.error("Error handling request", exc_info=ClientConnectionError("our own failure"))
    logging.getLogger("grpc._cython.cygrpc").error("raised in core", exc_info=ExecuteBatchError("a client is gone"))
    fail_and_log(aiohttp_server)
    assert FAILURE in (text := capfd.readouterr().out)
    assert "our own failure" in text
    assert "what was sent" not in text
    assert "raised in core" not in text
