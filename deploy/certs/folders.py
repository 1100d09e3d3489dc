"""The folders that the certificates, keys and passwords go to: one for all, or one for each service."""

import secrets
from pathlib import Path
from typing import NamedTuple

from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from deploy.certs import redis_users
from deploy.certs.authority import PRIVATE, PUBLIC, Authority, write

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH

# The user of the services' images, and the one that compose.yaml runs Redis as.
SERVICES_UID = 10_001
REDIS_UID = 999

PASSWORD_FILE = "redis-password"  # noqa: S105 - the name of a file
# Too many to try them all, so a fast hash is enough for Redis.
PASSWORD_BYTES = 32

KUSTOMIZATION = "kustomization.yaml"

_KUSTOMIZATION_HEAD = """\
# `kubectl apply -k` on this folder makes the Secrets that deploy/kubernetes/components/tls takes, and renews them.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization

generatorOptions:
  # Services take what is renewed under the same name without a restart.
  disableNameSuffixHash: true
  labels: { app.kubernetes.io/part-of: dockercoins }

secretGenerator:
"""


class Identity(NamedTuple):
    """An owner of a certificate. In a container, only the user `uid` can read the key."""

    name: str
    purposes: tuple[ObjectIdentifier, ...]
    uid: int


OPERATOR = Identity("operator", (CLIENT,), 0)  # people with grpcurl and redis-cli

IDENTITIES = (
    Identity("rng", (SERVER,), SERVICES_UID),
    Identity("hasher", (SERVER,), SERVICES_UID),
    Identity("worker", (CLIENT,), SERVICES_UID),
    Identity("webui", (CLIENT,), SERVICES_UID),
    Identity("redis", (SERVER, CLIENT), REDIS_UID),  # its health check is a client
    OPERATOR,
)


def for_this_machine(folder: Path) -> list[str]:
    """Renew all certificates and keys in one folder and keep its authority; return the names of the issued ones."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority(folder)
    for identity in IDENTITIES:
        authority.issue(identity.name, identity.purposes, folder)
    return [identity.name for identity in IDENTITIES]


def for_containers(folder: Path) -> list[str]:
    """Renew what is due in a folder for each service: certificate, key, and password for Redis; return what is new.

    No service mounts the folder `authority`: it has the authority's key. All folders belong to root and are mounted
    there, so a root without any privilege but CHOWN can replace files that it can't read.
    """
    return _separate(folder, owned=True)


def for_kubernetes(folder: Path) -> list[str]:
    """Do the same without changing owners, and add a kustomization that makes Secrets from the folders."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = _separate(folder, owned=False)
    if _update(folder / KUSTOMIZATION, _kustomization().encode(), None):
        made.append(KUSTOMIZATION)
    return made


def _separate(folder: Path, *, owned: bool) -> list[str]:
    own = folder / "authority"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority(own)
    made = []
    for identity in IDENTITIES:
        place, owner = folder / identity.name, identity.uid if owned else None
        place.mkdir(exist_ok=True)
        if _update(place / "ca.pem", authority.pem, owner):
            made.append(f"{identity.name}/ca.pem")
        if not authority.has_issued(identity.name, place):
            authority.issue(identity.name, identity.purposes, place, owner)
            made.append(f"{identity.name}/{identity.name}.pem")
    passwords = {}
    for name in redis_users.USERS:
        kept, given = own / f"{PASSWORD_FILE}-{name}", folder / name / PASSWORD_FILE
        if not (kept.exists() and given.exists()):
            password = secrets.token_urlsafe(PASSWORD_BYTES).encode()
            write(kept, password, PRIVATE)
            write(given, password, PRIVATE, SERVICES_UID if owned else None)
            made.append(f"{name}/{PASSWORD_FILE}")
        passwords[name] = kept.read_bytes()
    # The file is not secret: it has hashes of passwords that can't be guessed. So it can be compared, too.
    if _update(folder / "redis/users.acl", redis_users.acl_file(passwords), REDIS_UID if owned else None):
        made.append("redis/users.acl")
    return made


def _update(path: Path, content: bytes, owner: int | None) -> bool:
    """Write a public file unless it has this content; return whether it was written."""
    if path.exists() and path.read_bytes() == content:
        return False
    write(path, content, PUBLIC, owner)
    return True


def _kustomization() -> str:
    secret = "  - name: {}\n    type: {}\n    files: [{}]\n".format
    entries = [
        # The keys are those of kubernetes.io/tls, which cert-manager writes, too.
        secret(
            f"{name}-tls",
            "kubernetes.io/tls",
            f"tls.crt={name}/{name}.pem, tls.key={name}/{name}-key.pem, ca.crt={name}/ca.pem",
        )
        for name, _, _ in IDENTITIES
        if name != OPERATOR.name
    ]
    entries += [secret(f"{name}-{PASSWORD_FILE}", "Opaque", f"{name}/{PASSWORD_FILE}") for name in redis_users.USERS]
    return "".join([_KUSTOMIZATION_HEAD, *entries, secret("redis-users", "Opaque", "redis/users.acl")])
