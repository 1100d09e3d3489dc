from dataclasses import dataclass
from pathlib import Path

from chassis.certificate_files import CertificateFiles

MAX_PASSWORD_BYTES = 4_096


class PasswordError(Exception):
    """A file has no password. The message is one line that names the variable, the path and what is allowed."""


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
    """The password that a file holds. Raises PasswordError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PASSWORD_BYTES + 1)
        found = content.decode().removesuffix("\n")
    except OSError as error:
        raise _refusal(path, error.strerror) from None
    except UnicodeDecodeError:
        raise _refusal(path, "it is no UTF-8") from None
    if len(content) > MAX_PASSWORD_BYTES:
        raise _refusal(path, f"it has more than {MAX_PASSWORD_BYTES} bytes")
    if not found:
        raise _refusal(path, "it is empty")
    if not found.isprintable():
        raise _refusal(path, "it has a second line, or other characters that can't be printed")
    return found


def _refusal(path: Path, cause: str | None) -> PasswordError:
    return PasswordError(
        f"REDIS_PASSWORD_FILE={str(path)!r} is not allowed: it must be a file with the password in one line ({cause})"
    )
