import errno
import os
from pathlib import Path

import pytest
from support.certificates import Authority

from chassis.settings import ServiceSettings, SettingsError
from chassis.tls import RenewedCertificates
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
