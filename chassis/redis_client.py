"""Clients of Redis whose password and certificates may be renewed: both are read whenever one connects."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from chassis import redis_trouble
from chassis.redis_access import RedisAccess, password
from chassis.secret_file import SecretFileError
from chassis.tls.certificate_files import CertificateFiles


def open_client(access: RedisAccess, **options: Any) -> Redis:
    """A client that tries nothing twice, whoever uses it does. Closing it closes its connections."""
    arguments: dict[str, Any] = {
        **parse_url(access.url),
        **options,
        "retry": Retry(NoBackoff(), 0),
        # When it connects it says who it is and nothing else, for which a user would need more rights.
        "driver_info": None,
    }
    kind = arguments.pop("connection_class", Connection)
    if access.password_file is not None:
        user = arguments.pop("username", None)
        arguments["credential_provider"] = _PasswordFile(user, access.password_file)
    if kind is SSLConnection:
        kind = _EncryptedConnection
        arguments["certificates"] = access.tls
    return Redis.from_pool(ConnectionPool(connection_class=kind, **arguments))


class _PasswordFile(CredentialProvider):
    def __init__(self, user: str | None, path: Path) -> None:
        self._user = user
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            found = password(self._path)
        except SecretFileError as error:
            raise AuthenticationError(str(error)) from None
        return (found,) if self._user is None else (self._user, found)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class _EncryptedConnection(SSLConnection):
    def __init__(self, *, certificates: CertificateFiles | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._certificates = certificates

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments: Mapping[str, Any] = super()._connection_arguments()
        return arguments if self._certificates is None else {**arguments, "ssl": _context(self._certificates)}

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's
        try:
            await super().on_connect_check_health(check_health)
        except AuthenticationError:
            raise
        except RedisConnectionError as error:
            # A server looks at our certificate when for us the handshake is over; its alert is mostly lost.
            raise RedisConnectionError(f"{error}, {redis_trouble.BEFORE_ANY_ANSWER}") from error


def _context(certificates: CertificateFiles) -> ssl.SSLContext:
    """Trusts that authority and no other, and checks the server's name. Raises CertificateError."""
    certificates.read()  # for it says which file is wrong
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certificates.ca)
    context.load_cert_chain(certificates.cert, certificates.key, password="")
    return context
