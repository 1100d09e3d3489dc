import asyncio
import errno
import json
import logging
import os
import pty
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from aiohttp import ClientConnectionError
from aiohttp.http_exceptions import BadHttpMessage
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found] # it has no types
from structlog.testing import capture_logs

from chassis import log
from chassis.log import MAX_WAITING_BYTES, LogOutput, ThrottledLogger
from chassis.settings import LogFormat, LogLevel

LIMIT_S = 20.0

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


def output_lines(capfd: pytest.CaptureFixture[str], output: LogOutput) -> list[str]:
    output.close(LIMIT_S)
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.endswith("\n")
    return captured.out.splitlines()


def test_a_json_event_is_one_line_with_who_said_it(capfd: pytest.CaptureFixture[str]) -> None:
    output = configure(LogFormat.JSON)
    log.get(part="server").info("two\nlines", address="127.0.0.1:1", code=3, value=b"\xff", error=OSError("gone"))
    [line] = output_lines(capfd, output)
    event = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {
        "event": "two\nlines", "level": "info", "service": "rng", "instance": "rng-1", "part": "server",
        "address": "127.0.0.1:1", "code": 3, "value": "b'\\xff'", "error": "gone",
    }  # fmt: skip


def test_a_console_event_is_one_line_without_what_the_terminal_already_says(capfd: pytest.CaptureFixture[str]) -> None:
    output = configure(LogFormat.CONSOLE)
    log.get().warning("listening\non", address="127.0.0.1:1", cause="two\nlines")
    [line] = output_lines(capfd, output)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[warning *\] listening on +address=127\.0\.0\.1:1 cause='two\\nlines'", line
    ), line


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_an_exception_is_logged_with_its_traceback(log_format: LogFormat, capfd: pytest.CaptureFixture[str]) -> None:
    """As one line of JSON, and as Python shows it on the console."""
    output = configure(log_format)
    for logger in (log.get(), logging.getLogger("grpc")):
        fail_and_log(logger)
        first, *others = output_lines(capfd, output)
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
    output = configure(LogFormat.JSON, LogLevel(level))
    for method in ("debug", "info", "warning", "error"):
        getattr(log.get(), method)("event")
    logging.getLogger("asyncio").info("Using selector")
    assert len(output_lines(capfd, output)) == shown


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [(False, {}, False), (True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {"FORCE_COLOR": "1"}, True),
     (False, {"FORCE_COLOR": ""}, False), (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
     (False, {"FORCE_COLOR": "1", "NO_COLOR": ""}, True)],
)  # fmt: skip
def test_colours_are_used_on_request_and_never_where_they_are_turned_off(
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
    assert ["\x1b[" in line for line in output_lines(capfd, output)] == [coloured, coloured]


def test_lost_lines_are_announced_like_any_event(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = configure(LogFormat.JSON)
    with monkeypatch.context() as patch:
        patch.setattr("os.write", Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
        log.get().info("first")
        log.get().info("second")
        output.close(LIMIT_S)
    log.get().info("third")
    [third, announced] = output_lines(capfd, output)
    assert "third" in third
    assert all(each in announced for each in ("error", "log lines were lost", "2", "Input/output error"))


def test_no_http_and_a_client_that_is_gone_fill_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    output = configure(LogFormat.CONSOLE)
    aiohttp_server = logging.getLogger("aiohttp.server")
    aiohttp_server.error("Error handling request", exc_info=BadHttpMessage("what was sent"))
    aiohttp_server.error("Error handling request", exc_info=ClientConnectionError("our own failure"))
    logging.getLogger("grpc._cython.cygrpc").error("raised in core", exc_info=ExecuteBatchError("a client is gone"))
    fail_and_log(aiohttp_server)
    assert FAILURE in (text := "\n".join(output_lines(capfd, output)))
    assert "our own failure" in text
    assert "what was sent" not in text
    assert "raised in core" not in text


def test_a_storm_is_one_line_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the latest fields, the number of occurrences, and, for those held back, the time of the last one."""
    clock = Mock(return_value=1_000.0)
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr("time.time", lambda: clock() + 3_600)
    throttled = ThrottledLogger("failure", interval_s=10, level="error", to="rng")

    def storm() -> None:
        for number in range(6):
            clock.return_value += 1
            throttled.log(cause=number)
            throttled.flush()

    line = {"event": "failure", "log_level": "error", "to": "rng"}
    with capture_logs() as lines:
        storm()
        assert lines == [{**line, "cause": 0, "times": 1}], "at once"
        clock.return_value += 60
        throttled.flush()
        assert lines[1:] == [{**line, "cause": 5, "times": 5, "timestamp": 4_606}]
        storm()
        clock.return_value += 60
        throttled.log(cause="new")
        assert lines[2:] == [{**line, "cause": "new", "times": 7}]
        storm()
        throttled.clear()
        throttled.close()
        assert len(lines) == 3, "a condition that has ended is not logged any more"
        throttled.log(cause="last")
        throttled.close()
        throttled.close()
        assert [(each["cause"], each["times"]) for each in lines[3:]] == [("last", 1)], "even within the interval"
    assert throttled.times == 3 * 6 + 2


def test_each_failure_of_a_task_is_an_event(capfd: pytest.CaptureFixture[str]) -> None:
    out_of_files = ThrottledLogger("out of file descriptors")
    output = configure(LogFormat.JSON)
    loop = asyncio.new_event_loop()
    for number in range(3):
        log.handle_loop_exception(out_of_files, loop, {"message": f"failure {number}", "exception": ValueError("x")})
    loop.close()
    lines = [json.loads(line) for line in output_lines(capfd, output)]
    assert [line["event"] for line in lines] == ["failure 0", "failure 1", "failure 2"]
    assert all(line["exception"].endswith("ValueError: x") for line in lines)


class Odd:
    def __del__(self) -> None:
        raise ValueError("in __del__")


def fail_in_a_thread() -> None:
    raise ValueError("in a thread")


def test_warnings_and_unhandled_exceptions_are_events(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = configure(LogFormat.JSON)
    for hook in ("sys.excepthook", "sys.unraisablehook", "threading.excepthook"):
        monkeypatch.setattr(hook, None)  # those of pytest are in place again afterwards
    log.install_hooks()
    thread = threading.Thread(target=fail_in_a_thread, name="helper")
    thread.start()
    thread.join()
    Odd()
    sys.excepthook(ValueError, ValueError("at the top"), None)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 7)
    logging.captureWarnings(capture=False)
    lines = [json.loads(line) for line in output_lines(capfd, output)]
    assert [line["level"] for line in lines] == ["error", "error", "error", "warning"]
    assert lines[0]["thread"] == "helper"
    errors = [line["exception"].rpartition("ValueError: ")[2] for line in lines[:3]]
    assert errors == ["in a thread", "in __del__", "at the top"]
    assert "file.py:7: DeprecationWarning: old" in lines[3]["event"]


def lost(output: LogOutput) -> int:
    [metric] = output.collect()
    return int(metric.samples[0].value)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The end to read from, and the other one."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := os.read(descriptor, size - len(data))):
        data += part
    return data


def test_lines_that_a_full_disk_cuts_or_refuses_are_counted_and_announced_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room, write = [3], os.write

    def write_if_room(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr("os.write", write_if_room)
    with (tmp_path / "log").open("w") as stream:
        output = LogOutput(stream.fileno())
        output.on_recovery = lambda lines, cause: output.write(f"{lines} lost: {cause}\n")
        output.write("12345\n")
        output.write("lost\n")
        output.close(LIMIT_S)
        room[0] = 100
        output.write("whole\n")
        output.close(LIMIT_S)
        output.write("\udcff\n")
        output.close(LIMIT_S)
    assert (tmp_path / "log").read_text() == "123\nwhole\n2 lost: No space left on device\n\\udcff\n"
    assert lost(output) == 2


def test_a_reader_that_is_gone_or_never_was_costs_lines_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    gone, never = LogOutput(writing), LogOutput(10_000)
    for output in (gone, never):
        output.write("line\n")
        output.write("line\n")
        output.close(LIMIT_S)
    os.close(writing)
    assert (lost(gone), lost(never)) == (2, 2)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_pauses_gets_every_line_later(
    pipe: tuple[int, int],
    blocking: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    lines = [*(f"{number:01000}\n" for number in range(200)), "x" * 300_000 + "\n", "next\n"]  # more than a pipe holds
    output = LogOutput(writing)
    for line in lines:
        output.write(line)
    assert read(reading, len("".join(lines))).decode() == "".join(lines)
    output.close(LIMIT_S)
    assert lost(output) == 0


def test_a_reader_that_stopped_blocks_nothing_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = LogOutput(writing)
    output.on_recovery = lambda lines, cause: output.write(f"{lines} lost: {cause}\n")
    line = "x" * 9_999 + "\n"
    count = 2 * MAX_WAITING_BYTES // len(line)
    for _ in range(count):
        output.write(line)
    missed = lost(output)
    began = time.monotonic()
    output.close(0.01)
    assert time.monotonic() - began < LIMIT_S
    assert missed > 0
    read(reading, (count - missed) * len(line))
    output.close(LIMIT_S)
    assert os.read(reading, 1_000).decode() == f"{missed} lost: nothing reads them\n"


def test_a_terminal_that_takes_nothing_blocks_nothing() -> None:
    leader, follower = pty.openpty()
    output = LogOutput(follower)

    def write() -> None:
        for _ in range(500):
            output.write("x" * 999 + "\n")

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(LIMIT_S)
    assert not writing.is_alive()
    # Otherwise its thread writes to what next has the descriptor's number.
    read(leader, 500 * 1_001)
    output.close(LIMIT_S)
    os.close(leader)
    os.close(follower)
