import json
import logging
import os
from collections.abc import Iterator
from functools import partial

import pytest
import structlog
from structlog.testing import capture_logs
from support.waiting import wait_until

from chassis import grpc_log, log
from chassis.grpc_log import MAX_EVENTS, MAX_REASON
from chassis.log import ThrottledLogger
from chassis.settings import LogFormat, LogLevel

LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def untouched_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("FORCE_COLOR", "NO_COLOR", "GRPC_VERBOSITY", "GRPC_TRACE"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # those of pytest are not to be closed
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


GOAWAY = "I1128 10:24:37.138812    8996 chttp2_transport.cc:1403] ipv4:127.0.0.1:41957: Got goaway [2]"
WARNING = "W1128 10:24:38.090628    9018 log.cc:102] Log level INFO is not suitable for production."
NO_PORT = "E1128 10:24:36.704528    8973 add_port.cc:83] Failed to add port to server"
TRACE = ("=== Source Location Trace: === ", "src/core/lib/event_engine/posix_engine/posix_endpoint.cc:372", "")
FATAL = "F1128 10:24:41.304142    9179 party.cc:12] Check failed: refs > 0"


def write(log_format: LogFormat, *lines: str) -> None:
    """As gRPC does: to the descriptor."""
    output = log.configure(LogLevel.INFO, log_format, service="rng", instance="rng-1")
    with grpc_log.capture(log_format):
        for line in lines:
            os.write(2, f"{line}\n".encode())
    output.close(LIMIT_S)


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
    monkeypatch.setattr(grpc_log, "FLUSH_INTERVAL_S", 0.01)
    monkeypatch.setattr(grpc_log, "ThrottledLogger", partial(ThrottledLogger, interval_s=0.1))
    with capture_logs() as lines, grpc_log.capture(LogFormat.JSON):
        os.write(2, f"{NO_PORT}\n{NO_PORT}\n".encode())
        wait_until(lambda: len(lines) == 2)
    assert [line["times"] for line in lines] == [1, 1]


PLACE = "I1125 06:44:31.950393   13496 ssl_transport_security.cc:2563] "
EXPIRED = (
    PLACE + "Handshake failed with error SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
    "CERTIFICATE_VERIFY_FAILED: certificate has expired"
)
NONE = (
    PLACE + "Handshake failed with error SSL_ERROR_SSL: error:100000c0:SSL routines:OPENSSL_internal:"
    "PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid certificate verification context"
)
OTHER_NAME = PLACE + "No match found for server name: rng.test"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (EXPIRED, [{"reason": "CERTIFICATE_VERIFY_FAILED: certificate has expired"}]),
        (PLACE + "Handshake failed with error SSL_ERROR_SYSCALL", [{"reason": "SSL_ERROR_SYSCALL"}]),
        (NONE, [{"reason": "PEER_DID_NOT_RETURN_A_CERTIFICATE"}]),
        (OTHER_NAME, [{"name": "rng.test"}]),
        (PLACE + "No match found for server name: \x1b[2J\xff", [{"name": "?[2J?"}]),
        (PLACE + "No match found for server name: " + "x" * 1_000, [{"name": "x" * MAX_REASON}]),
        (PLACE + "Corrupted session", []),
        (GOAWAY.replace("Got goaway [2]", "Handshake failed with error SSL_ERROR_SSL"), []),
    ],
)
def test_a_failed_handshake_is_logged_with_its_reason(line: str, expected: list[dict[str, str]]) -> None:
    with capture_logs() as lines, grpc_log.capture(LogFormat.CONSOLE):
        os.write(2, f"{line}\n".encode())
    assert [{name: said[name] for name in ("reason", "name") if name in said} for said in lines] == expected


def test_each_reason_has_a_line_of_its_own_and_a_count() -> None:
    with capture_logs() as lines, grpc_log.capture(LogFormat.CONSOLE):
        os.write(2, "\n".join([NONE, EXPIRED, *[EXPIRED] * 20, OTHER_NAME, ""]).encode())
    assert [line["times"] for line in lines] == [1, 1, 1, 20]
    assert {line["log_level"] for line in lines} == {"warning"}
    assert lines[-1]["reason"].endswith("expired")


def test_many_different_reasons_share_a_bounded_number_of_lines() -> None:
    with capture_logs() as lines, grpc_log.capture(LogFormat.CONSOLE):
        for number in range(300):
            os.write(2, f"{PLACE}Handshake failed with error reason {number}\n".encode())
            os.write(2, f"{PLACE}No match found for server name: name-{number}\n".encode())
    assert len(lines) <= MAX_EVENTS + 2
    assert sum(line["times"] for line in lines) == 600
