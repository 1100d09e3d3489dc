"""Connections to Redis: to one server or to whichever is the master, plain or encrypted."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Connection, SSLConnection
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

from chassis.redis import trouble
from chassis.redis.deployment import Node
from chassis.redis.master import ANSWER_LIMIT, Master
from chassis.settings import CertificateFiles

_MOVED_ON = (ReadOnlyError, AskError, ClusterDownError, TryAgainError)
"""What a server answers that is not the master, or not for long, or not of all our keys."""

LOOK_INTERVAL = 2.0
"""Seconds after which whoever named the master is asked again."""

LOOK_LIMIT = 2.4 * ANSWER_LIMIT
"""Seconds that this may take: two Sentinels of three may be frozen, and who sends something has two seconds in all."""


class EncryptedConnection(SSLConnection):
    """Shows certificates that may be renewed: they are read whenever it connects."""

    def __init__(self, *, certificates: CertificateFiles | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._certificates = certificates

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments: Mapping[str, Any] = super()._connection_arguments()
        return arguments if self._certificates is None else {**arguments, "ssl": _context(self._certificates)}

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's
        """Say who we are. Raises redis.exceptions.ConnectionError, with what may be wrong with our certificate."""
        try:
            await super().on_connect_check_health(check_health)
        except AuthenticationError:
            raise
        except RedisConnectionError as error:
            # A server looks at our certificate when for us the handshake is over; its alert is mostly lost.
            raise RedisConnectionError(f"{error}, {trouble.BEFORE_ANY_ANSWER}") from error


def _context(certificates: CertificateFiles) -> ssl.SSLContext:
    """Trusts that authority and no other, and checks the server's name. Raises SettingsError."""
    certificates.read()  # for it says which file is wrong
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certificates.ca)
    context.load_cert_chain(certificates.cert, certificates.key, password="")
    return context


class MasterConnection(Connection):
    """Looks for the master whenever it connects, and ends as soon as its server is the master no longer."""

    def __init__(self, *, master: Master, checked: bool, **arguments: Any) -> None:
        """A node of a cluster knows by itself whether it is the one to ask. Any other is checked.

        It is asked for its role, and whoever named it is asked again now and then: a master that Sentinels have put
        another in place of learns of it last, and acknowledged reports for 10 s that nobody had any more (measured).
        """
        super().__init__(**arguments)
        self._master = master
        self._checked = checked
        self._looked = 0.0

    async def _connect(self) -> None:
        self._looked = time.monotonic()
        self.host, self.port = await self._master.find()
        try:
            await super()._connect()  # type: ignore[no-untyped-call] # the library's
        except BaseException:  # a limit on the whole attempt, too
            self._master.distrust()
            raise

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's
        """Say who we are, and look whom we talk to. Raises redis.exceptions.ConnectionError where it is no master."""
        await super().on_connect_check_health(check_health)
        if self._checked:
            await self.send_command("ROLE", check_health=False)
            role, *_ = await self.read_response()
            role = role.decode() if isinstance(role, bytes) else role
            if role != "master":
                await self._give_up(f"it is a {role}")

    async def check_health(self) -> None:
        """What is done before each command: see whether another is the master. Raises ConnectionError if so."""
        if not self._checked or time.monotonic() - self._looked < LOOK_INTERVAL:
            return
        self._looked = time.monotonic()
        named = await self._named()
        if named is not None and named != (self.host, self.port):
            await self._leave(f"{named[0]}:{named[1]} is")

    async def _named(self) -> Node | None:
        """The master, by the word of whoever says so in time."""
        # Where nobody does, we know nothing better than to stay.
        with contextlib.suppress(RedisError, TimeoutError):
            async with asyncio.timeout(LOOK_LIMIT):
                return await self._master.find()
        return None

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """An answer. Raises redis.exceptions.ConnectionError, too, for one that only the master can give."""
        try:
            return await super().read_response(*arguments, **options)
        except ResponseError as error:
            # Before Redis 7, what fails in a script is an error of the script's.
            if isinstance(error, _MOVED_ON) or "READONLY" in str(error):
                await self._give_up(str(error))
            raise

    async def _give_up(self, cause: str) -> None:
        self._master.distrust()
        await self._leave(cause)

    async def _leave(self, cause: str) -> None:
        await self.disconnect(nowait=True)  # for a frozen server never says goodbye
        raise RedisConnectionError(f"{self.host}:{self.port} is not the Redis to ask any more: {cause}")


class EncryptedMasterConnection(MasterConnection, EncryptedConnection):
    """Both."""
