"""What others report: throttled, in the format of the log, or where it was to go."""

import asyncio
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial

import pytest
import structlog
from structlog.testing import capture_logs
from support.waiting import wait_until

from chassis import foreign_log, log
from chassis.foreign_log import ForeignLog
from chassis.log import ThrottledLogger
from chassis.settings import LogFormat, LogLevel

GOAWAY = "I1128 10:24:37.138812    8996 chttp2_transport.cc:1403] ipv4:127.0.0.1:41957: Got goaway [2]"
WARNING = "W1128 10:24:38.090628    9018 log.cc:102] Log level INFO is not suitable for production."
NO_PORT = "E1128 10:24:36.704528    8973 add_port.cc:83] Failed to add port to server"
TRACE = ("=== Source Location Trace: === ", "src/core/lib/event_engine/posix_engine/posix_endpoint.cc:372", "")
FATAL = "F1128 10:24:41.304142    9179 party.cc:12] Check failed: refs > 0"


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GRPC_VERBOSITY", "GRPC_TRACE"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


def write(log_format: LogFormat, *lines: str) -> None:
    """As gRPC does: to the descriptor."""
    log.configure(LogLevel.INFO, log_format, service="rng", instance="rng-1")
    with foreign_log.capture(log_format):
        for line in lines:
            os.write(2, f"{line}\n".encode())


def json_events(text: str) -> list[tuple[str, str]]:
    return [(line["level"], line["event"]) for line in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_lines_of_grpc_reach_no_log_and_its_errors_do_as_ours(
    capfd: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    write(log_format, GOAWAY, *TRACE, WARNING, NO_PORT, *TRACE, NO_PORT)
    captured = capfd.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert len(lines) == 2  # the first at once, the other one at the end
    for line in lines:
        assert all(each in line for each in ("error in gRPC", "Failed to add port to server", "add_port.cc:83"))
    if log_format is LogFormat.JSON:
        assert json_events(captured.out) == [("error", "error in gRPC")] * 2


GRPC_LINES = [("info", "ipv4:127.0.0.1:41957: Got goaway [2]"), ("error", "Failed to add port to server")]


@pytest.mark.parametrize(
    ("wanted", "lines", "events"),
    [
        ("GRPC_VERBOSITY", [GOAWAY, NO_PORT], GRPC_LINES),
        ("GRPC_TRACE", [GOAWAY, NO_PORT], GRPC_LINES),
        # What ends the process.
        (None, [FATAL], [("critical", "Check failed: refs > 0")]),
        # What is not of gRPC.
        (None, ["one", "\ufffd"], [("warning", "one"), ("warning", "\ufffd")]),
    ],
)
def test_what_people_want_to_see_goes_on_as_it_is_and_is_json_where_each_line_is(
    wanted: str | None,
    lines: list[str],
    events: list[tuple[str, str]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if wanted:
        monkeypatch.setenv(wanted, "http")
    write(LogFormat.CONSOLE, *lines)
    assert capfd.readouterr() == ("", "".join(f"{line}\n" for line in lines))
    write(LogFormat.JSON, *lines)
    captured = capfd.readouterr()
    assert captured.err == ""
    assert json_events(captured.out) == events


def test_errors_that_are_held_back_are_logged_once_the_interval_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_log, "FLUSH_INTERVAL_S", 0.01)
    monkeypatch.setattr(foreign_log, "ThrottledLogger", partial(ThrottledLogger, interval_s=0.1))
    with capture_logs() as lines, foreign_log.capture(LogFormat.JSON):
        os.write(2, f"{NO_PORT}\n{NO_PORT}\n".encode())
        wait_until(lambda: len(lines) == 2)
    assert [line["times"] for line in lines] == [1, 1]


def test_each_failure_of_a_task_is_an_event(capfd: pytest.CaptureFixture[str]) -> None:
    foreign = ForeignLog(LogFormat.JSON)
    log.configure(LogLevel.INFO, LogFormat.JSON)  # later, as in a process
    loop = asyncio.new_event_loop()
    for number in range(3):
        foreign.handle_loop_exception(loop, {"message": f"failure {number}", "exception": ValueError("x")})
    loop.close()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
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
    for hook in ("sys.excepthook", "sys.unraisablehook", "threading.excepthook"):
        monkeypatch.setattr(hook, None)  # those of pytest are in place again afterwards
    log.configure(LogLevel.INFO, LogFormat.JSON)
    ForeignLog(LogFormat.JSON).install_hooks()
    thread = threading.Thread(target=fail_in_a_thread, name="helper")
    thread.start()
    thread.join()
    Odd()
    sys.excepthook(ValueError, ValueError("at the top"), None)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 7)
    logging.captureWarnings(capture=False)
    captured = capfd.readouterr()
    assert captured.err == ""
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["level"] for line in lines] == ["error", "error", "error", "warning"]
    assert lines[0]["thread"] == "helper"
    errors = [line["exception"].rpartition("ValueError: ")[2] for line in lines[:3]]
    assert errors == ["in a thread", "in __del__", "at the top"]
    assert "file.py:7: DeprecationWarning: old" in lines[3]["event"]
