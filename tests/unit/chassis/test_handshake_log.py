import asyncio
import logging
import os

import pytest
from structlog.testing import capture_logs

from chassis import foreign_log
from chassis.settings import LogFormat
from chassis.tls.handshake_log import MAX_LENGTH, MAX_REASONS, HandshakeLog, Remark, handshake_log, remark

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
        (EXPIRED, Remark(reason="CERTIFICATE_VERIFY_FAILED: certificate has expired")),
        (PLACE + "Handshake failed with error SSL_ERROR_SYSCALL", Remark(reason="SSL_ERROR_SYSCALL")),
        (NONE, Remark(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE")),
        (OTHER_NAME, Remark(name="rng.test")),
        (PLACE + "No match found for server name: \x1b[2J\xff", Remark(name="?[2J?")),
        (PLACE + "No match found for server name: " + "x" * 1_000, Remark(name="x" * MAX_LENGTH)),
        (PLACE + "Corrupted session", None),
        ("Handshake failed with error SSL_ERROR_SSL", None),
    ],
)
def test_a_line_about_a_handshake_is_understood(line: str, expected: Remark | None) -> None:
    assert remark(line) == expected


async def test_failures_on_standard_error_are_said_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    failures: asyncio.Queue[int] = asyncio.Queue()
    with foreign_log.capture(LogFormat.CONSOLE):
        async with handshake_log("error", failures.put_nowait):
            os.write(2, f"{OTHER_NAME}\n{EXPIRED}\n{EXPIRED}\n".encode())
            assert [await failures.get() for _ in range(2)] == [1, 1]
    said, passed_on = capfd.readouterr()
    assert passed_on == ""
    assert "reason='CERTIFICATE_VERIFY_FAILED: certificate has expired'" in said
    assert "asked for by a name that is not in the certificate name=rng.test" in said


async def test_each_reason_is_one_line_in_some_seconds_that_says_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", asyncio.get_running_loop().time)
    core = logging.getLogger(foreign_log.GRPC_CORE)
    with capture_logs() as lines:
        async with handshake_log("warning"):
            for line in (NONE, EXPIRED, *[EXPIRED] * 20, OTHER_NAME):
                core.error(line)
            await asyncio.sleep(1)
            assert [line["times"] for line in lines] == [1, 1, 1]
            await asyncio.sleep(10)
            core.error(EXPIRED)
    assert [(line["reason"][-7:], line["times"]) for line in lines[3:]] == [("expired", 20), ("expired", 1)]


def test_whoever_thinks_up_reasons_gets_no_more_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log = HandshakeLog("warning", lambda _: None)
    for number in range(1_000):
        log.note(Remark(reason=f"reason {number}"))
        log.note(Remark(name=f"name-{number}"))
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MAX_REASONS + 2 + 2
    assert sum(int(line.rpartition("times=")[2]) for line in lines) == 2_000
