from dataclasses import dataclass

from cryptography.x509.oid import ObjectIdentifier

from deploy.tls.certificate import CLIENT, SERVER

SERVICES_UID = 10_001
"""Whom the services' images run as."""

REDIS_UID = 999
"""Whom compose.yaml runs Redis as."""


@dataclass(frozen=True)
class Identity:
    """Somebody who gets a certificate. The name is the one in it."""

    name: str
    purposes: tuple[ObjectIdentifier, ...]
    uid: int
    """Who may read the key, in a container."""


IDENTITIES = (
    Identity("rng", (SERVER,), SERVICES_UID),
    Identity("hasher", (SERVER,), SERVICES_UID),
    Identity("worker", (CLIENT,), SERVICES_UID),
    Identity("webui", (CLIENT,), SERVICES_UID),
    # Its health check is a client, too.
    Identity("redis", (SERVER, CLIENT), REDIS_UID),
    # People with grpcurl and redis-cli.
    Identity("operator", (CLIENT,), 0),
)
