"""Clients of Redis that read the password and the certificates whenever they connect, since both may be renewed.

In a deployment of several servers a client uses the master alone, as it would a single server: all our keys are there,
and so are the clock that numbers reports and what SCAN finds. redis-py's own client of a cluster sends commands without
a key to any node, and retries by itself, which the ledger must do.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig

from chassis.redis import errors
from chassis.redis.master import REPLY_LIMIT_S, MasterFinder, cluster_query, sentinel_query
from chassis.redis.settings import Deployment, Node, RedisAccess
from chassis.settings import CertificateFiles, SettingsError

# Errors of a server that is not the master, or not for long, or not of all our keys.
_NOT_MASTER = (ReadOnlyError, AskError, ClusterDownError, TryAgainError)

# How often Sentinels are queried whether the server is still the master, and DNS whether it still has the name.
MASTER_CHECK_INTERVAL_S = 2.0

# The look-ups in a row that must name another server, before a client goes there.
MOVED_LOOKUPS = 2

# How long that may take: two Sentinels of three may be frozen, and a command has two seconds in all.
MASTER_CHECK_LIMIT_S = 2.4 * REPLY_LIMIT_S


def open_client(access: RedisAccess, **options: Any) -> Redis:
    """Return a client that retries nothing; its user does. Closing it closes its connections."""
    if access.deployment is not None:
        return _master_client(access, access.deployment, options)
    arguments: dict[str, Any] = {**parse_url(access.url), **options}
    kind = arguments.pop("connection_class", NamedConnection)
    if kind is SSLConnection:
        kind = EncryptedConnection
        arguments["certificates"] = access.tls
    return client(kind, _with_password_file(access, arguments))


def _master_client(access: RedisAccess, deployment: Deployment, options: dict[str, Any]) -> Redis:
    encrypted: dict[str, Any] = {"certificates": access.tls} if deployment.encrypted else {}
    login = _with_password_file(access, {"username": deployment.username, "password": deployment.password})

    def open_node(node: Node, **login: Any) -> Redis:
        limits = {"socket_timeout": None, "socket_connect_timeout": None}  # the finder has one
        arguments = {"host": node[0], "port": node[1], "protocol": 2, **encrypted, **login, **limits}
        return client(EncryptedConnection if encrypted else Connection, arguments)

    open_with_login = partial(open_node, **login)
    if deployment.is_cluster:
        query = cluster_query(access.keys.reports, open_with_login)
    else:
        query = sentinel_query(deployment.name, open_node, open_with_login)
    finder = MasterFinder(deployment.nodes, query)
    kind = EncryptedMasterConnection if encrypted else MasterConnection
    return client(kind, {**encrypted, **login, **options, "finder": finder, "checked": not deployment.is_cluster})


def client(kind: type[Any], arguments: dict[str, Any]) -> Redis:
    """Return a client with connections of this kind."""
    fixed: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        # CLIENT SETINFO would need one more permission.
        "driver_info": None,
        # Redis 7, Redis 8.0 and Valkey answer CLIENT MAINT_NOTIFICATIONS with an error, which redis-py 8.1 ignores.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    return Redis.from_pool(ConnectionPool(connection_class=kind, **arguments, **fixed))


def _with_password_file(access: RedisAccess, arguments: dict[str, Any]) -> dict[str, Any]:
    if access.password_file is None:
        return arguments
    others = {name: value for name, value in arguments.items() if name not in {"username", "password"}}
    return {**others, "credential_provider": _PasswordFile(arguments.get("username"), access)}


class _PasswordFile(CredentialProvider):
    def __init__(self, user: str | None, access: RedisAccess) -> None:
        self._user = user
        self._access = access

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._access.read_password() or ""
        except SettingsError as error:
            raise AuthenticationError(str(error)) from None
        return (password,) if self._user is None else (self._user, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class NamedConnection(Connection):
    """Ends when the name of its server has come to name another one: the old one may be cut off, and still respond."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._looked_up_at = 0.0
        self._looking_up = False
        # The look-ups in a row that did not name the connected server.
        self._moved = 0

    async def _connect(self) -> None:
        self._looked_up_at, self._moved = time.monotonic(), 0
        await super()._connect()  # type: ignore[no-untyped-call] # the library's

    async def check_health(self) -> None:
        """Leave a server that no longer has the name. redis-py calls this before each command.

        Raises redis.exceptions.ConnectionError for such a server.
        """
        if self._moved >= MOVED_LOOKUPS:
            await self.disconnect(nowait=True)  # a server that is cut off never closes its end
            raise RedisConnectionError(f"{self.host} is another server now")
        is_due = not self._looking_up and time.monotonic() - self._looked_up_at >= MASTER_CHECK_INTERVAL_S
        if is_due and self._writer is not None and (peer := self._writer.get_extra_info("peername")):
            self._looked_up_at, self._looking_up = time.monotonic(), True
            # A daemon, unlike the event loop's threads: a silent name server must delay neither commands nor the end.
            threading.Thread(target=self._look_up, args=(peer[0],), daemon=True).start()

    def _look_up(self, peer: str) -> None:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:  # a look-up that fails changes nothing
            pass
        else:
            self._moved = 0 if peer in {address[0] for *_, address in found} else self._moved + 1
        finally:
            self._looking_up = False


class EncryptedConnection(NamedConnection, SSLConnection):
    """Reads the certificates whenever it connects, since they may be renewed."""

    def __init__(self, *, certificates: CertificateFiles | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._certificates = certificates

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments: Mapping[str, Any] = super()._connection_arguments()
        return arguments if self._certificates is None else {**arguments, "ssl": _context(self._certificates)}

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's
        """Log in. Raises redis.exceptions.ConnectionError, with what may be wrong with our certificate."""
        try:
            await super().on_connect_check_health(check_health)
        except AuthenticationError:
            raise
        except RedisConnectionError as error:
            # A server checks our certificate when for us the handshake is over; its alert is mostly lost.
            raise RedisConnectionError(f"{error}, {errors.BEFORE_ANY_REPLY}") from error


def _context(certificates: CertificateFiles) -> ssl.SSLContext:
    """Return a context that trusts one authority, and checks the server's name. Raises SettingsError."""
    certificates.read()  # its error says which file is wrong
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certificates.ca)
    context.load_cert_chain(certificates.cert, certificates.key, password="")
    return context


class MasterConnection(Connection):
    """Finds the master whenever it connects, and ends as soon as its server is no longer the master.

    A node of a cluster checks for itself whether it has a slot. A server behind Sentinels is `checked`: for its role
    when the connection opens, and with the Sentinels now and then, since a master that they have replaced learns of it
    last, and has acknowledged reports for 10 s that were lost (measured).
    """

    def __init__(self, *, finder: MasterFinder, checked: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._finder = finder
        self._checked = checked
        self._checked_at = 0.0

    async def _connect(self) -> None:
        self._checked_at = time.monotonic()
        self.host, self.port = await self._finder.find()
        try:
            await super()._connect()  # type: ignore[no-untyped-call] # the library's
        except BaseException:  # a limit on the whole attempt, too
            self._finder.mark_stale()
            raise

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's
        """Log in, and check the role. Raises redis.exceptions.ConnectionError where the server is no master."""
        await super().on_connect_check_health(check_health)
        if self._checked:
            await self.send_command("ROLE", check_health=False)
            role, *_ = await self.read_response()
            role = role.decode() if isinstance(role, bytes) else role
            if role != "master":
                await self._leave(f"it is a {role}", is_stale=True)

    async def check_health(self) -> None:
        """Leave a server that Sentinels have replaced. redis-py calls this before each command.

        Raises redis.exceptions.ConnectionError for a server that is no longer the master.
        """
        if not self._checked or time.monotonic() - self._checked_at < MASTER_CHECK_INTERVAL_S:
            return
        self._checked_at = time.monotonic()
        master: Node | None = None
        # If no Sentinel replies in time, the server may still be the master.
        with contextlib.suppress(RedisError, TimeoutError):
            async with asyncio.timeout(MASTER_CHECK_LIMIT_S):
                master = await self._finder.find()
        if master is not None and master != (self.host, self.port):
            await self._leave(f"{master[0]}:{master[1]} is", is_stale=False)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Return a reply. Raises redis.exceptions.ConnectionError also for an error that means "not the master"."""
        try:
            return await super().read_response(*arguments, **options)
        except ResponseError as error:
            # Before Redis 7, what fails in a script is an error of the script's.
            if isinstance(error, _NOT_MASTER) or "READONLY" in str(error):
                await self._leave(str(error), is_stale=True)
            raise

    async def _leave(self, cause: str, *, is_stale: bool) -> NoReturn:
        if is_stale:
            self._finder.mark_stale()
        await self.disconnect(nowait=True)  # a frozen server never closes its end
        raise RedisConnectionError(f"{self.host}:{self.port} is no longer the Redis master: {cause}")


class EncryptedMasterConnection(MasterConnection, EncryptedConnection):
    """Finds the current master through the Sentinels, and encrypts what is sent to it."""
