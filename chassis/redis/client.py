"""Clients of Redis whose password and certificates may be renewed: both are read whenever one connects.

Of servers that take over from one another a client talks to the master alone, as it would to a single one: all our keys
are there, and so are the clock that numbers reports and what SCAN finds. redis-py's own client of a cluster sends what
has no key to any node, and tries again by itself, which is for the ledger to do.
"""

from pathlib import Path
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from chassis.redis.access import RedisAccess, password
from chassis.redis.connection import EncryptedConnection, EncryptedMasterConnection, MasterConnection
from chassis.redis.deployment import Deployment, Kind, Node
from chassis.redis.master import Master, MasterBySentinel, MasterBySlot
from chassis.settings import SettingsError


def open_client(access: RedisAccess, **options: Any) -> Redis:
    """A client that tries nothing twice, whoever uses it does. Closing it closes its connections."""
    deployment = Deployment.parse(access.url)
    if deployment is not None:
        return _of_master(access, deployment, options)
    arguments: dict[str, Any] = {**parse_url(access.url), **options}
    kind = arguments.pop("connection_class", Connection)
    if kind is SSLConnection:
        kind = EncryptedConnection
        arguments["certificates"] = access.tls
    return _client(kind, _with_password(access, arguments))


def _of_master(access: RedisAccess, deployment: Deployment, options: dict[str, Any]) -> Redis:
    encrypted: dict[str, Any] = {"certificates": access.tls} if deployment.encrypted else {}
    login = _with_password(access, {"username": deployment.username, "password": deployment.password})

    def open_node(node: Node, *, login_needed: bool) -> Redis:
        arguments = {"host": node[0], "port": node[1], "protocol": 2, **encrypted, **(login if login_needed else {})}
        arguments |= {"socket_timeout": None, "socket_connect_timeout": None}  # whoever asks has a limit
        return _client(EncryptedConnection if encrypted else Connection, arguments)

    by_sentinel = deployment.kind is Kind.SENTINEL
    master: Master = (
        MasterBySentinel(deployment.nodes, deployment.name, open_node)
        if by_sentinel
        else MasterBySlot(deployment.nodes, access.keys.reports, open_node)
    )
    kind = EncryptedMasterConnection if encrypted else MasterConnection
    return _client(kind, {**encrypted, **login, **options, "master": master, "checked": by_sentinel})


def _with_password(access: RedisAccess, arguments: dict[str, Any]) -> dict[str, Any]:
    if access.password_file is None:
        return arguments
    others = {name: value for name, value in arguments.items() if name not in {"username", "password"}}
    return {
        **others,
        "credential_provider": _PasswordFile(arguments.get("username"), access.password_file, access.password_variable),
    }


def _client(kind: type[Any], arguments: dict[str, Any]) -> Redis:
    fixed: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        # When it connects it says who it is and nothing else, for which a user would need more rights.
        "driver_info": None,
    }
    return Redis.from_pool(ConnectionPool(connection_class=kind, **arguments, **fixed))


class _PasswordFile(CredentialProvider):
    def __init__(self, user: str | None, path: Path, variable: str) -> None:
        self._user = user
        self._path = path
        self._variable = variable

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            found = password(self._path, self._variable)
        except SettingsError as error:
            raise AuthenticationError(str(error)) from None
        return (found,) if self._user is None else (self._user, found)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()
