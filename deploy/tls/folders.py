"""What is put where: all of it into one folder, or to each service its own."""

import secrets
from pathlib import Path

from deploy.tls import kustomization, redis_users, secret_file
from deploy.tls.authority import Authority
from deploy.tls.identity import IDENTITIES, REDIS_UID

PASSWORD_BYTES = 32
"""Of randomness: nobody tries them all, so Redis may keep a fast hash."""

PASSWORD = "redis-password"  # noqa: S105 - the name of a file


def for_this_machine(folder: Path) -> list[str]:
    """Certificates and keys in one folder, all renewed, of the authority that is there; the names that were issued."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority(folder)
    for identity in IDENTITIES:
        authority.issue(identity, folder)
    return [identity.name for identity in IDENTITIES]


def for_containers(folder: Path) -> list[str]:
    """A folder for each service, with its certificate, its key and its password for Redis; what was made anew.

    The folder `authority` is for nobody else: it has the authority's key. All of them are root's and mounted there, so
    a root without any privilege but CHOWN can replace files that it can't read.
    """
    return _apart(folder, owned=True)


def for_kubernetes(folder: Path) -> list[str]:
    """As for_containers(), all of it for whoever runs this, with a kustomization that makes Secrets of it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = _apart(folder, owned=False)
    if _put(folder / kustomization.NAME, kustomization.text(PASSWORD).encode(), secret_file.PUBLIC, None):
        made.append(kustomization.NAME)
    return made


def _apart(folder: Path, *, owned: bool) -> list[str]:
    own = folder / "authority"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority(own)
    made = []
    for identity in IDENTITIES:
        place, owner = folder / identity.name, identity.uid if owned else None
        place.mkdir(exist_ok=True)
        if _put(place / "ca.pem", authority.pem, secret_file.PUBLIC, owner):
            made.append(f"{identity.name}/ca.pem")
        if not authority.has_issued(identity, place):
            authority.issue(identity, place, owner)
            made.append(f"{identity.name}/{identity.name}.pem")
    return made + _redis_users(folder, own, owned=owned)


def _redis_users(folder: Path, own: Path, *, owned: bool) -> list[str]:
    passwords, made = {}, []
    for identity in IDENTITIES:
        if identity.name in redis_users.USERS:
            kept, given = own / f"{PASSWORD}-{identity.name}", folder / identity.name / PASSWORD
            if not (kept.exists() and given.exists()):
                password = secrets.token_urlsafe(PASSWORD_BYTES).encode()
                secret_file.write(kept, password, secret_file.PRIVATE)
                secret_file.write(given, password, secret_file.PRIVATE, identity.uid if owned else None)
                made.append(f"{identity.name}/{PASSWORD}")
            passwords[identity.name] = kept.read_bytes()
    # No secret: it has hashes of what can't be guessed. So it can be compared with, too.
    if _put(
        folder / "redis" / "users.acl",
        redis_users.acl_file(passwords),
        secret_file.PUBLIC,
        REDIS_UID if owned else None,
    ):
        made.append("redis/users.acl")
    return made


def _put(path: Path, content: bytes, mode: int, owner: int | None) -> bool:
    """Write a file whose content is not this; whether that was so."""
    if path.exists() and path.read_bytes() == content:
        return False
    secret_file.write(path, content, mode, owner)
    return True
