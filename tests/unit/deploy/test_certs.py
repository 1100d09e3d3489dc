import hashlib
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from deploy.certs import authority, folders
from deploy.certs.__main__ import main
from deploy.certs.authority import AUTHORITY_DAYS, LEAF_DAYS

NAMES = ("rng", "hasher", "worker", "webui", "redis", "operator")
SERVERS = {"rng", "hasher", "redis"}
CLIENTS = {"worker", "webui", "redis", "operator"}


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def accepts(authority: Path, leaf: Path, server: str | None = None) -> bool:
    """Return whether the authority verifies a certificate for the server of that name, or else for a client."""
    trusting = PolicyBuilder().store(Store([load(authority)]))
    try:
        if server is None:
            trusting.build_client_verifier().verify(load(leaf), [])
        else:
            trusting.build_server_verifier(x509.DNSName(server)).verify(load(leaf), [])
    except VerificationError:
        return False
    return True


def test_each_identity_has_its_own_key_and_a_short_lived_certificate_for_one_name_and_purpose(tmp_path: Path) -> None:
    made, now = tmp_path / "certs", datetime.now(UTC)
    folders.for_this_machine(made)
    keys, certificates = ({f"{name}{end}.pem" for name in (*NAMES, "ca")} for end in ("-key", ""))
    assert {path.name: mode(path) for path in made.iterdir()} == {
        **dict.fromkeys(keys, 0o600),
        **dict.fromkeys(certificates, 0o644),
    }
    for file, days in {**dict.fromkeys(NAMES, LEAF_DAYS), "ca": AUTHORITY_DAYS}.items():
        found = load(made / f"{file}.pem")
        assert timedelta(days=days, minutes=-1) < found.not_valid_after_utc - now < timedelta(days=days, minutes=1)
        assert found.not_valid_before_utc < now - timedelta(minutes=4), "clocks may differ"
    for name in NAMES:
        leaf = made / f"{name}.pem"
        assert {other for other in NAMES if accepts(made / "ca.pem", leaf, other)} == {name} & SERVERS
        assert accepts(made / "ca.pem", leaf) == (name in CLIENTS)


def test_a_second_run_renews_the_certificates_and_keeps_an_authority_that_outlives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(authority, "AUTHORITY_DAYS", LEAF_DAYS)
        folders.for_this_machine(tmp_path)
    for expected in (set(), {"ca.pem", "ca-key.pem"}):
        before = content(tmp_path)
        folders.for_this_machine(tmp_path)
        after = content(tmp_path)
        assert {name for name in before if before[name] == after[name]} == expected
        assert accepts(tmp_path / "ca.pem", tmp_path / "rng.pem", "rng")


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Record the owner of each inode: only root can change it."""
    given: dict[int, int] = {}

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        assert uid == gid
        given[os.fstat(descriptor).st_ino] = uid

    monkeypatch.setattr(os, "fchown", fchown)
    return given


def test_in_containers_each_service_has_only_its_own_files_and_redis_has_password_hashes(
    tmp_path: Path, owners: dict[int, int]
) -> None:
    folders.for_containers(tmp_path)
    extra = {"worker": {"redis-password": 0o600}, "webui": {"redis-password": 0o600}, "redis": {"users.acl": 0o644}}
    for name in NAMES:
        modes = {"ca.pem": 0o644, f"{name}.pem": 0o644, f"{name}-key.pem": 0o600, **extra.get(name, {})}
        assert {path.name: mode(path) for path in (tmp_path / name).iterdir()} == modes
        uids = {owners[path.stat().st_ino] for path in (tmp_path / name).iterdir()}
        assert uids == {{"redis": 999, "operator": 0}.get(name, 10_001)}
    assert mode(tmp_path / "authority") == 0o700
    passwords = {(tmp_path / name / "redis-password").read_bytes() for name in ("worker", "webui")}
    users = (tmp_path / "redis" / "users.acl").read_text()
    assert len(passwords) == 2
    for password in passwords:
        assert hashlib.sha256(password).hexdigest() in users
        assert password.decode() not in users


@pytest.mark.usefixtures("owners")
def test_in_containers_only_certificates_that_expire_soon_or_have_lost_their_authority_are_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(authority, "LEAF_DAYS", LEAF_DAYS / 3 - 0.01)
        folders.for_containers(tmp_path)
    assert folders.for_containers(tmp_path) == [f"{name}/{name}.pem" for name in NAMES]
    before = content(tmp_path)
    assert folders.for_containers(tmp_path) == []
    assert content(tmp_path) == before
    for path in (tmp_path / "authority").iterdir():
        path.unlink()
    folders.for_containers(tmp_path)
    after = content(tmp_path)
    assert not [name for name in before if before[name] == after[name]]
    assert accepts(tmp_path / "worker" / "ca.pem", tmp_path / "worker" / "worker.pem")
    users = (tmp_path / "redis" / "users.acl").read_text()
    assert hashlib.sha256((tmp_path / "worker" / "redis-password").read_bytes()).hexdigest() in users


@pytest.mark.parametrize(("kind", "file"), [("", "rng.pem"), ("--for-kubernetes", "kustomization.yaml")])
def test_make_certs_makes_the_requested_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, file: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["deploy.certs", str(tmp_path), *kind.split()])
    assert main() == 0
    assert (tmp_path / file).exists()


def test_for_kubernetes_the_user_owns_all_files_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    assert folders.for_kubernetes(folder)[-1] == "kustomization.yaml"
    assert folders.for_kubernetes(folder) == []
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.getuid()}
