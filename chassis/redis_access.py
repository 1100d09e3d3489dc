from dataclasses import dataclass
from pathlib import Path

from chassis import secret_file
from chassis.tls.certificate_files import CertificateFiles


@dataclass(frozen=True)
class RedisAccess:
    """Where Redis is, and who we are to it."""

    url: str
    """redis:// or, encrypted, rediss://, with the user and, unless a file has it, the password."""
    password_file: Path | None = None
    tls: CertificateFiles | None = None
    """With these what a rediss:// URL names is encrypted; without them it must have a certificate that the system
    trusts, and gets none."""


def password(path: Path) -> str:
    """The password that a file holds. Raises SecretFileError."""
    return secret_file.read("REDIS_PASSWORD_FILE", path, "password")
