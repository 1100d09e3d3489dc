"""The files that TLS_CERT, TLS_KEY and TLS_CA name, read and checked."""

import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path

READ_ATTEMPTS = 3
"""Times in a row that files are read which change meanwhile; whoever renews them may be at it."""


class CertificateError(Exception):
    """A file can't be used. The message is one line that names the variable, the path and what is allowed."""


@dataclass(frozen=True)
class Certificates:
    """What one end of a TLS connection shows, and whom it trusts, all in PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    authority: bytes


@dataclass(frozen=True)
class CertificateFiles:
    """Three files of PEM."""

    cert: Path
    key: Path
    ca: Path
    variables: tuple[str, str, str] = field(default=("TLS_CERT", "TLS_KEY", "TLS_CA"), kw_only=True)
    """The names of the variables that the paths come from, for errors."""

    def read(self) -> Certificates:
        """Their content, the key being the certificate's. Raises CertificateError."""
        cert, private_key, ca = self.variables
        for _ in range(READ_ATTEMPTS):
            before = self.state()
            chain, key, authority = _read(cert, self.cert), _read(private_key, self.key), _read(ca, self.ca)
            _check_certificates(cert, self.cert, chain)
            _check_certificates(ca, self.ca, authority)
            self._check_key()
            if before == self.state():
                return Certificates(chain, key, authority)
        raise CertificateError(f"{cert}={str(self.cert)!r} can't be read: the files keep changing")

    def state(self) -> tuple[tuple[int, int, int], ...]:
        """Something that changes when one of the files does."""
        return tuple(_state(path) for path in (self.cert, self.key, self.ca))

    def _check_key(self) -> None:
        try:
            # With a passphrase, so that nobody is asked for one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            cert, key, _ = self.variables
            pair = f"the private key of the certificate in {cert}={str(self.cert)!r}, in PEM and without a passphrase"
            raise _refusal(key, self.key, pair, getattr(error, "reason", None)) from None


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise _refusal(variable, path, f"readable for uid {os.geteuid()}", _whose(path) or error.strerror) from None
    except OSError as error:
        raise _refusal(variable, path, "a file that can be read", error.strerror) from None


def _whose(path: Path) -> str:
    """Who may read it; nothing where its folder does not even let us look."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"its mode is {stat.S_IMODE(found.st_mode):04o} and its owner is uid {found.st_uid}"


def _check_certificates(variable: str, path: Path, content: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError):  # the second is what bytes get that are no ASCII, and an empty file
        raise _refusal(variable, path, "a file of certificates in PEM") from None


def _refusal(variable: str, path: Path, allowed: str, cause: str | None = None) -> CertificateError:
    because = f" ({cause})" if cause else ""
    return CertificateError(f"{variable}={str(path)!r} is not allowed: it must be {allowed}{because}")
