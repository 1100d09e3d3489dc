import asyncio
import errno
import logging
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.certificates import Authority

from chassis import grpc_log
from chassis.settings import LogFormat, ServiceSettings, SettingsError
from chassis.tls import MAX_LENGTH, MAX_REASONS, RenewedCertificates, handshake_log
from worker_svc.settings import WorkerSettings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def load(kind: type[ServiceSettings], **settings: object) -> ServiceSettings:
    return kind.load(**{name.lower(): value for name, value in settings.items()})


def refusal(kind: type[ServiceSettings], **settings: object) -> str:
    with pytest.raises(SettingsError) as error:
        load(kind, **settings)
    return str(error.value)


def test_three_files_that_belong_together_turn_tls_on(authority: Authority) -> None:
    assert load(ServiceSettings).tls is None
    assert load(ServiceSettings, TLS_CERT="", TLS_KEY="", TLS_CA="").tls is None
    files = load(ServiceSettings, **authority.issue("worker")).tls
    assert files is not None
    assert files.read().key == (authority.folder / "worker-key.pem").read_bytes()
    assert "PRIVATE KEY" not in repr(files.read())


NO_CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
MISSING = "a file that can be read (No such file or directory)"
IN_PEM = "a file of certificates in PEM"


@pytest.mark.parametrize(
    ("variable", "content", "allowed"),
    [
        *((variable, None, MISSING) for variable in ("TLS_CERT", "TLS_KEY", "TLS_CA")),
        *(("TLS_CERT", content, IN_PEM) for content in (b"", b"\xff\x00", NO_CERTIFICATE)),
        ("TLS_CA", NO_CERTIFICATE, IN_PEM),
    ],
)
def test_an_error_names_a_file_that_is_missing_or_holds_no_certificate(
    variable: str, content: bytes | None, allowed: str, authority: Authority
) -> None:
    path = authority.folder / "bad.pem"
    if content is not None:
        path.write_bytes(content)
    message = refusal(ServiceSettings, **{**authority.issue("worker"), variable: str(path)})
    assert message == f"{variable}={str(path)!r} is not allowed: it must be {allowed}"


def test_the_key_of_another_certificate_is_refused(authority: Authority) -> None:
    settings = authority.issue("worker") | {"TLS_KEY": authority.issue("rng")["TLS_KEY"]}
    assert refusal(ServiceSettings, **settings).startswith(
        f"TLS_KEY={settings['TLS_KEY']!r} is not allowed: it must be the private key of the certificate in "
        f"TLS_CERT={settings['TLS_CERT']!r}, in PEM and without a passphrase"
    )


def test_a_file_of_another_user_is_refused_with_its_mode_and_owner(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a secret that is mounted into a container whose process runs under another uid; root reads everything."""
    settings, read = authority.issue("worker"), Path.read_bytes
    key = Path(settings["TLS_KEY"])
    key.chmod(0o600)

    def read_but_the_key(path: Path) -> bytes:
        if path == key:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_but_the_key)
    assert refusal(ServiceSettings, **settings) == (
        f"TLS_KEY={str(key)!r} is not allowed: it must be readable for uid {os.geteuid()} "
        f"(its mode is 0600 and its owner is uid {key.stat().st_uid})"
    )


@pytest.mark.parametrize("target", ["ipv4:127.0.0.1:50051", "ipv6:[::1]:50051", "unix:/run/rng.sock"])
@pytest.mark.parametrize("variable", ["RNG_TARGET", "HASHER_TARGET"])
def test_a_worker_needs_names_to_check_certificates_for(authority: Authority, variable: str, target: str) -> None:
    message = refusal(WorkerSettings, **authority.issue("worker"), **{variable: target})
    assert message.startswith(f"{variable}={target!r} is not allowed with TLS_CERT: it must have a name, as ")
    assert load(WorkerSettings, **authority.issue("worker"), **{variable: "dns:///rng:50051"}).tls is not None


def test_unusable_renewed_files_are_logged_once_and_change_nothing(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    files = load(ServiceSettings, **authority.issue("worker")).tls
    assert files is not None
    certificates = RenewedCertificates(files)
    latest = certificates.latest
    authority.issue("worker", half=True)
    for _ in range(3):
        certificates.check()
    assert certificates.latest is latest
    authority.issue("worker")
    certificates.check()
    assert certificates.latest.key == files.key.read_bytes()
    said = capsys.readouterr().out
    assert said.count("renewed certificate can't be used") == said.count("certificate renewed") == 1
    assert "KEY-----" not in said


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
CORE = logging.getLogger(grpc_log.GRPC_CORE)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (EXPIRED, {"reason": "CERTIFICATE_VERIFY_FAILED: certificate has expired"}),
        (PLACE + "Handshake failed with error SSL_ERROR_SYSCALL", {"reason": "SSL_ERROR_SYSCALL"}),
        (NONE, {"reason": "PEER_DID_NOT_RETURN_A_CERTIFICATE"}),
        (OTHER_NAME, {"name": "rng.test"}),
        (PLACE + "No match found for server name: \x1b[2J\xff", {"name": "?[2J?"}),
        (PLACE + "No match found for server name: " + "x" * 1_000, {"name": "x" * MAX_LENGTH}),
        (PLACE + "Corrupted session", {}),
        ("Handshake failed with error SSL_ERROR_SSL", {}),
    ],
)
async def test_a_line_of_the_core_about_a_handshake_is_parsed(line: str, expected: dict[str, str]) -> None:
    with capture_logs() as lines:
        async with handshake_log("error"):
            CORE.error(line)
    assert [{name: said[name] for name in ("reason", "name") if name in said} for said in lines] == [expected][
        : len(expected)
    ]


async def test_handshakes_that_fail_are_logged_from_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    async with handshake_log("error"):
        with grpc_log.capture(LogFormat.CONSOLE):
            os.write(2, f"{OTHER_NAME}\n{EXPIRED}\n".encode())
    # Read once: what is written while capfd is read may be lost.
    said, errors = capfd.readouterr()
    assert (said.count("\n"), errors) == (2, "")
    assert "reason='CERTIFICATE_VERIFY_FAILED: certificate has expired'" in said
    assert "server name not in the certificate name=rng.test" in said


async def test_each_reason_has_one_line_with_a_count_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", asyncio.get_running_loop().time)
    with capture_logs() as lines:
        async with handshake_log("warning"):
            for line in (NONE, EXPIRED, *[EXPIRED] * 20, OTHER_NAME):
                CORE.error(line)
            await asyncio.sleep(1)
            assert [line["times"] for line in lines] == [1, 1, 1]
            await asyncio.sleep(10)
            CORE.error(EXPIRED)
    assert [(line["reason"][-7:], line["times"]) for line in lines[3:]] == [("expired", 20), ("expired", 1)]


async def test_many_different_reasons_share_a_bounded_number_of_lines() -> None:
    with capture_logs() as lines:
        async with handshake_log("warning"):
            for number in range(1_000):
                CORE.error(f"{PLACE}Handshake failed with error reason {number}")
                CORE.error(f"{PLACE}No match found for server name: name-{number}")
    assert len(lines) <= MAX_REASONS + 2 + 2
    assert sum(line["times"] for line in lines) == 2_000
