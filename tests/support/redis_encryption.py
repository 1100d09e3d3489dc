from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from support.certificates import Authority

HOST = "localhost"
"""The name in the certificate, and so the one that servers must be known by."""


@dataclass(frozen=True)
class RedisEncryption:
    """A server that knows TLS, and the certificate that all servers and clients of a test show to one another."""

    program: str
    certificate: dict[str, str]
    """As settings: TLS_CERT, TLS_KEY, TLS_CA."""

    @classmethod
    def make(cls, program: str, folder: Path) -> Self:
        """With a new authority in this folder."""
        return cls(program, Authority(folder).issue("redis", HOST))

    def settings(self, port: int) -> dict[str, object]:
        """Of a server that speaks nothing else."""
        own = self.certificate
        files = {"tls-cert-file": own["TLS_CERT"], "tls-key-file": own["TLS_KEY"], "tls-ca-cert-file": own["TLS_CA"]}
        return {"port": 0, "tls-port": port, **files, "tls-replication": "yes", "tls-cluster": "yes"}

    def client_options(self) -> dict[str, Any]:
        """As redis-py names them."""
        own = self.certificate
        files = {"ssl_certfile": own["TLS_CERT"], "ssl_keyfile": own["TLS_KEY"], "ssl_ca_certs": own["TLS_CA"]}
        return {"ssl": True, **files}
