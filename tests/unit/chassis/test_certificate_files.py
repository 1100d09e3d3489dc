"""Files that TLS_CERT, TLS_KEY and TLS_CA name: what is taken, and how a refusal reads."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority

from chassis.settings import ServiceSettings, SettingsError
from chassis.tls.renewed_certificates import RenewedCertificates
from worker_svc.settings import WorkerSettings

NOBODY = 65_534


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refusal(kind: type[ServiceSettings], **settings: object) -> str:
    with pytest.raises(SettingsError) as error:
        load(kind, **settings)
    message = str(error.value)
    assert "\n" not in message
    return message


def load(kind: type[ServiceSettings], **settings: object) -> ServiceSettings:
    return kind.load(**{name.lower(): value for name, value in settings.items()})


def test_nothing_is_encrypted_without_files_and_three_that_fit_are_taken(authority: Authority) -> None:
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
def test_a_file_that_is_not_there_or_holds_no_certificate_is_named(
    variable: str, content: bytes | None, allowed: str, authority: Authority
) -> None:
    path = authority.folder / "bad.pem"
    if content is not None:
        path.write_bytes(content)
    message = refusal(ServiceSettings, **{**authority.issue("worker"), variable: str(path)})
    assert message == f"{variable}={str(path)!r} is not allowed: it must be {allowed}"


def test_the_key_of_another_certificate_is_refused(authority: Authority) -> None:
    key = authority.issue("rng")["TLS_KEY"]
    settings = {**authority.issue("worker"), "TLS_KEY": key}
    assert refusal(ServiceSettings, **settings).startswith(
        f"TLS_KEY={key!r} is not allowed: it must be the private key of the certificate in "
        f"TLS_CERT={settings['TLS_CERT']!r}, in PEM and without a passphrase"
    )


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """One that everybody may look into, which pytest's are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_file_of_another_user_is_refused_with_its_mode_and_owner(shared_folder: Path) -> None:
    """As a secret that is mounted into a container whose process runs under another uid."""
    settings = Authority(shared_folder).issue("worker")
    key = Path(settings["TLS_KEY"])
    owner = os.geteuid()
    key.chmod(0o600 if owner == 0 else 0o000)
    mode = "0600" if owner == 0 else "0000"
    if owner == 0:  # who may read everything
        os.seteuid(NOBODY)
    try:
        uid = os.geteuid()
        message = refusal(ServiceSettings, **settings)
    finally:
        os.seteuid(owner)
    assert message == (
        f"TLS_KEY={str(key)!r} is not allowed: it must be readable for uid {uid} "
        f"(its mode is {mode} and its owner is uid {owner})"
    )


@pytest.mark.parametrize("target", ["ipv4:127.0.0.1:50051", "ipv6:[::1]:50051", "unix:/run/rng.sock"])
@pytest.mark.parametrize("variable", ["RNG_TARGET", "HASHER_TARGET"])
def test_a_worker_needs_names_to_check_certificates_for(authority: Authority, variable: str, target: str) -> None:
    message = refusal(WorkerSettings, **authority.issue("worker"), **{variable: target})
    assert message.startswith(f"{variable}={target!r} is not allowed with TLS_CERT: it must have a name, as ")
    assert load(WorkerSettings, **authority.issue("worker"), **{variable: "dns:///rng:50051"}).tls is not None


def test_files_that_can_t_be_used_are_said_once_and_change_nothing(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    files = load(ServiceSettings, **authority.issue("worker")).tls
    assert files is not None
    certificates = RenewedCertificates(files)
    latest = certificates.latest
    files.key.unlink()
    for _ in range(3):
        certificates.look()
    assert certificates.latest is latest
    authority.issue("worker")
    certificates.look()
    assert certificates.latest.key == files.key.read_bytes()
    said = capsys.readouterr().out
    assert said.count("renewed certificate can't be used") == said.count("certificate renewed") == 1
    assert "KEY-----" not in said
