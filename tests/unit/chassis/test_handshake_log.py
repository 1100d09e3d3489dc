"""What gRPC's core says of handshakes on standard error becomes log lines; everything else goes where it went."""

import os

import pytest

from chassis.tls.handshake_log import MAX_LENGTH, MAX_REASONS, HandshakeLog, Remark, handshake_log, remark

PLACE = b"I1125 06:44:31.950393   13496 ssl_transport_security.cc:2563] "
EXPIRED = (
    PLACE + b"Handshake failed with error SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
    b"CERTIFICATE_VERIFY_FAILED: certificate has expired"
)
NONE = (
    PLACE + b"Handshake failed with error SSL_ERROR_SSL: error:100000c0:SSL routines:OPENSSL_internal:"
    b"PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid certificate verification context"
)
OTHER_NAME = PLACE + b"No match found for server name: rng.test"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (EXPIRED, Remark(reason="CERTIFICATE_VERIFY_FAILED: certificate has expired")),
        (PLACE + b"Handshake failed with error SSL_ERROR_SYSCALL", Remark(reason="SSL_ERROR_SYSCALL")),
        (NONE, Remark(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE")),
        (OTHER_NAME, Remark(name="rng.test")),
        (PLACE + b"No match found for server name: \x1b[2J\xff", Remark(name="?[2J?")),
        (PLACE + b"No match found for server name: " + b"x" * 1_000, Remark(name="x" * MAX_LENGTH)),
        (PLACE + b"Corrupted session", None),
        (b"Handshake failed with error SSL_ERROR_SSL", None),
        (b"", None),
    ],
)
def test_a_line_about_a_handshake_is_understood(line: bytes, expected: Remark | None) -> None:
    assert remark(line) == expected


async def test_others_lines_pass_and_failures_are_said_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    failures: list[int] = []
    async with handshake_log("error", failures.append):
        os.write(2, b"first\n" + EXPIRED + b"\n" + EXPIRED[:30])
        os.write(2, EXPIRED[30:] + b"\n" + OTHER_NAME + b"\nlast without an end")
    os.write(2, b" and after\n")
    said, passed_on = capfd.readouterr()
    assert passed_on == "first\nlast without an end and after\n"
    assert sum(failures) == 2
    assert said.count("handshake failed") == 2  # the first at once, the others at the end
    assert "reason='CERTIFICATE_VERIFY_FAILED: certificate has expired'" in said
    assert "asked for by a name that is not in the certificate name=rng.test" in said


async def test_more_than_a_pipe_holds_passes(capfd: pytest.CaptureFixture[str]) -> None:
    line = b"x" * 100_000
    async with handshake_log("warning"):
        os.write(2, line + b"\n")
        os.write(2, line)
    assert capfd.readouterr().err == f"{line.decode()}\n{line.decode()}"


def test_whoever_thinks_up_reasons_gets_no_more_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log = HandshakeLog("warning", lambda _: None)
    for number in range(1_000):
        log.note([Remark(reason=f"reason {number}"), Remark(name=f"name-{number}")])
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MAX_REASONS + 2 + 2
    assert sum(int(line.rpartition("times=")[2]) for line in lines) == 2_000
