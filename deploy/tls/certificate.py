"""X.509 certificates of a throw-away authority, as the services here want them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH

AUTHORITY_DAYS = 365
LEAF_DAYS = 30
"""A machine that is copied, or a key that leaks, is of use for that long: nobody revokes anything here."""

RENEWED_BEFORE = timedelta(days=LEAF_DAYS / 3)
"""What is left of a certificate when it is time for another."""

CLOCKS_APART = timedelta(minutes=5)
"""How far the clock of another machine may be behind."""

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    """A key on P-256, the curve that every TLS library here has, and the fastest of them."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """A key as a file holds it, without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as a file holds it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def authority(key: Key) -> x509.Certificate:
    """A certificate that signs others, and no further authority."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DockerCoins throw-away authority")])
    builder = _builder(name, name, key, AUTHORITY_DAYS)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def leaf(
    name: str, key: Key, purposes: Iterable[ObjectIdentifier], issuer: x509.Certificate, issuer_key: Key
) -> x509.Certificate:
    """A certificate of one DNS name, which is who its owner is, for these purposes only."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        _builder(subject, issuer.subject, key, LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def has_days_left(certificate: x509.Certificate, more_than: timedelta) -> bool:
    """Whether a certificate is valid for more than this from now on."""
    return certificate.not_valid_after_utc - datetime.now(UTC) > more_than


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether this authority has signed it, and not an earlier one."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
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
