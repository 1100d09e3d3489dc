"""What `make certs` and compose.tls.yaml make."""

import hashlib
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from deploy.tls import certificate, folders
from deploy.tls.certificate import AUTHORITY_DAYS, LEAF_DAYS
from deploy.tls.identity import IDENTITIES

NAMES = ("rng", "hasher", "worker", "webui", "redis", "operator")
SERVERS = {"rng", "hasher", "redis"}
CLIENTS = {"worker", "webui", "redis", "operator"}


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_server(authority: Path, leaf: Path, name: str) -> bool:
    verifier = PolicyBuilder().store(Store([load(authority)])).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(load(leaf), [])
    except VerificationError:
        return False
    return True


def is_client(authority: Path, leaf: Path) -> bool:
    try:
        PolicyBuilder().store(Store([load(authority)])).build_client_verifier().verify(load(leaf), [])
    except VerificationError:
        return False
    return True


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folders.for_this_machine(tmp_path / "certs")
    return tmp_path / "certs"


def test_everybody_has_a_certificate_and_a_key_that_nobody_else_reads(made: Path) -> None:
    files = {"ca.pem", "ca-key.pem", *(f"{name}{end}.pem" for name in NAMES for end in ("", "-key"))}
    assert {path.name for path in made.iterdir()} == files
    for path in made.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.name.endswith("-key.pem") else 0o644)


@pytest.mark.parametrize("name", NAMES)
def test_a_certificate_is_good_for_its_name_and_purpose_alone(made: Path, name: str) -> None:
    leaf = made / f"{name}.pem"
    assert is_server(made / "ca.pem", leaf, name) == (name in SERVERS)
    assert is_client(made / "ca.pem", leaf) == (name in CLIENTS)
    assert not [other for other in NAMES if other != name and is_server(made / "ca.pem", leaf, other)]


def test_certificates_are_short_lived_and_begin_in_the_past(made: Path) -> None:
    now = datetime.now(UTC)
    for name, days in ((NAMES[0], LEAF_DAYS), ("ca", AUTHORITY_DAYS)):
        found = load(made / f"{name}.pem")
        assert timedelta(days=days) - timedelta(minutes=1) < found.not_valid_after_utc - now < timedelta(days=days)
        assert found.not_valid_before_utc < now - timedelta(minutes=4)


def test_another_time_renews_the_certificates_and_keeps_the_authority(made: Path) -> None:
    before = content(made)
    folders.for_this_machine(made)
    after = content(made)
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {"ca.pem", "ca-key.pem"}
    assert is_server(made / "ca.pem", made / "rng.pem", "rng")


def test_an_authority_that_ends_before_its_certificates_would_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "AUTHORITY_DAYS", LEAF_DAYS)
    folders.for_this_machine(tmp_path)
    before = content(tmp_path)
    monkeypatch.undo()
    folders.for_this_machine(tmp_path)
    assert content(tmp_path)["ca.pem"] != before["ca.pem"]
    assert is_server(tmp_path / "ca.pem", tmp_path / "rng.pem", "rng")


Owners = dict[str, int]


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> Owners:
    """Who was given what: only root can do it."""
    given: Owners = {}

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        assert uid == gid
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) in {0o600, 0o644}
        given[f"{path.parent.name}/{path.name.removeprefix('.').removesuffix('.new')}"] = uid

    monkeypatch.setattr(os, "fchown", fchown)
    return given


linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it looks at /proc, as containers have it")


@linux
def test_in_containers_each_has_its_own_files_alone(tmp_path: Path, owners: Owners) -> None:
    folders.for_containers(tmp_path)
    extra = {"worker": {"redis-password"}, "webui": {"redis-password"}, "redis": {"users.acl"}}
    for name in NAMES:
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files == {"ca.pem", f"{name}.pem", f"{name}-key.pem"} | extra.get(name, set())
    assert {owners[f"{name}/{name}-key.pem"] for name in ("rng", "hasher", "worker", "webui")} == {10_001}
    assert (owners["redis/redis-key.pem"], owners["redis/users.acl"]) == (999, 999)
    assert owners["worker/redis-password"] == 10_001
    assert stat.S_IMODE((tmp_path / "worker" / "redis-password").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "authority").stat().st_mode) == 0o700


@linux
def test_redis_knows_passwords_by_their_hash(tmp_path: Path, owners: Owners) -> None:
    folders.for_containers(tmp_path)
    users = (tmp_path / "redis" / "users.acl").read_text()
    passwords = [(tmp_path / name / "redis-password").read_bytes() for name in ("worker", "webui")]
    assert len(set(passwords)) == 2
    for password in passwords:
        assert hashlib.sha256(password).hexdigest() in users
        assert password.decode() not in users


@linux
def test_in_containers_nothing_is_made_again_that_is_good(tmp_path: Path, owners: Owners) -> None:
    assert folders.for_containers(tmp_path)
    before = content(tmp_path)
    assert folders.for_containers(tmp_path) == []
    assert content(tmp_path) == before


@linux
def test_in_containers_what_is_about_to_end_is_renewed(
    tmp_path: Path, owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "LEAF_DAYS", LEAF_DAYS / 3 - 0.01)
    folders.for_containers(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    assert folders.for_containers(tmp_path) == [f"{identity.name}/{identity.name}.pem" for identity in IDENTITIES]
    assert folders.for_containers(tmp_path) == []


@linux
def test_in_containers_an_authority_that_is_lost_is_replaced_with_all_that_it_made(
    tmp_path: Path, owners: Owners
) -> None:
    folders.for_containers(tmp_path)
    before = content(tmp_path)
    for path in (tmp_path / "authority").iterdir():
        path.unlink()
    folders.for_containers(tmp_path)
    after = content(tmp_path)
    assert not [name for name in before if before[name] == after[name]]
    assert is_client(tmp_path / "worker" / "ca.pem", tmp_path / "worker" / "worker.pem")
    users = (tmp_path / "redis" / "users.acl").read_text()
    assert hashlib.sha256((tmp_path / "worker" / "redis-password").read_bytes()).hexdigest() in users


def test_for_kubernetes_everything_is_ones_own_and_nothing_is_made_again_that_is_good(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    assert folders.for_kubernetes(folder)[-1] == "kustomization.yaml"
    before = content(folder)
    assert folders.for_kubernetes(folder) == []
    assert content(folder) == before
    assert is_server(folder / "rng" / "ca.pem", folder / "rng" / "rng.pem", "rng")
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.getuid()}
    # The authority's key, and who may be whom, is in no Secret.
    assert "authority" not in (folder / "kustomization.yaml").read_text()
    assert "operator" not in (folder / "kustomization.yaml").read_text()
