from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from deploy.tls import certificate, secret_file
from deploy.tls.certificate import LEAF_DAYS, RENEWED_BEFORE, Key
from deploy.tls.identity import Identity


class Authority:
    """Whoever trusts ca.pem trusts what this has issued. Its key stays in the folder that it is made in."""

    def __init__(self, folder: Path) -> None:
        """The authority that the folder has or, where it has none that outlives a new certificate, a new one."""
        file, key_file = folder / "ca.pem", folder / "ca-key.pem"
        found = _found(file, key_file)
        if found is None:
            self._key = certificate.new_key()
            self._certificate = certificate.authority(self._key)
            secret_file.write(key_file, certificate.key_pem(self._key), secret_file.PRIVATE)
            secret_file.write(file, self.pem, secret_file.PUBLIC)
        else:
            self._certificate, self._key = found

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return certificate.pem(self._certificate)

    def issue(self, identity: Identity, folder: Path, owner: int | None = None) -> None:
        """Put a new certificate and its key into a folder, the key readable for its owner alone."""
        key = certificate.new_key()
        issued = certificate.leaf(identity.name, key, identity.purposes, self._certificate, self._key)
        secret_file.write(folder / f"{identity.name}-key.pem", certificate.key_pem(key), secret_file.PRIVATE, owner)
        secret_file.write(folder / f"{identity.name}.pem", certificate.pem(issued), secret_file.PUBLIC, owner)

    def has_issued(self, identity: Identity, folder: Path) -> bool:
        """Whether the folder has a certificate of this authority's that need not be renewed yet, and its key."""
        try:
            issued = x509.load_pem_x509_certificate((folder / f"{identity.name}.pem").read_bytes())
        except (OSError, ValueError):
            return False
        return (
            (folder / f"{identity.name}-key.pem").exists()
            and certificate.has_days_left(issued, RENEWED_BEFORE)
            and certificate.is_issued_by(issued, self._certificate)
        )


def _found(file: Path, key_file: Path) -> tuple[x509.Certificate, Key] | None:
    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    if not isinstance(key, Key) or key.public_key() != found.public_key():
        return None
    return (found, key) if certificate.has_days_left(found, timedelta(days=LEAF_DAYS)) else None
