"""A throw-away certificate authority, and the X.509 certificates that it issues to the services."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

AUTHORITY_DAYS = 365
# A copied machine or a leaked key is useful for that long: there is no revocation.
LEAF_DAYS = 30
# A certificate is renewed when this much of its time is left.
RENEWED_BEFORE = timedelta(days=LEAF_DAYS / 3)
# How far the clock of another machine may be behind.
CLOCK_SKEW = timedelta(minutes=5)

PRIVATE = 0o600
PUBLIC = 0o644

Key = ec.EllipticCurvePrivateKey


class Authority:
    """The authority whose certificate is ca.pem. Its key stays in its folder."""

    def __init__(self, folder: Path) -> None:
        """Load the authority from the folder; create one if there is none that outlives a new certificate."""
        file, key_file = folder / "ca.pem", folder / "ca-key.pem"
        found = _load(file, key_file)
        if found is None:
            # P-256 is supported by every TLS library here, and the fastest of their curves.
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._certificate = _self_signed(self._key)
            write(key_file, _key_pem(self._key), PRIVATE)
            write(file, self.pem, PUBLIC)
        else:
            self._certificate, self._key = found

    @property
    def pem(self) -> bytes:
        """The certificate of the authority itself."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, purposes: Iterable[ObjectIdentifier], folder: Path, owner: int | None = None) -> None:
        """Write a new certificate for one DNS name and these purposes, and its key, which only the owner can read."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        issued = (
            _builder(_named(name), self._certificate.subject, key, LEAF_DAYS)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write(folder / f"{name}-key.pem", _key_pem(key), PRIVATE, owner)
        write(folder / f"{name}.pem", issued.public_bytes(serialization.Encoding.PEM), PUBLIC, owner)

    def has_issued(self, name: str, folder: Path) -> bool:
        """Return whether the folder has a key, and a certificate of this authority that is not due for renewal."""
        try:
            issued = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
            # The subject alone does not distinguish this authority from an earlier one.
            issued.verify_directly_issued_by(self._certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        return (folder / f"{name}-key.pem").exists() and _is_valid_for(issued, RENEWED_BEFORE)


def write(path: Path, content: bytes, mode: int, owner: int | None = None) -> None:
    """Replace a file atomically, without ever granting more than `mode`.

    The owner is a uid, and the gid of the same number; by default it is the user that runs this.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)  # before the owner changes: afterwards it takes a privilege
        if owner is not None:
            os.fchown(descriptor, owner, owner)
    new.replace(path)


def _load(file: Path, key_file: Path) -> tuple[x509.Certificate, Key] | None:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    if not isinstance(key, Key) or key.public_key() != certificate.public_key():
        return None
    return (certificate, key) if _is_valid_for(certificate, timedelta(days=LEAF_DAYS)) else None


def _is_valid_for(certificate: x509.Certificate, time: timedelta) -> bool:
    return certificate.not_valid_after_utc - datetime.now(UTC) > time


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key: Key) -> x509.Certificate:
    name = _named("DockerCoins throw-away authority")
    return (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
