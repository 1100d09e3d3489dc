"""Sockets to listen on, taken before a library sees them, so that a port in use is one clear line."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

from chassis.settings import SettingsError


class ListenError(Exception):
    """A port can't be listened on. The message is one line that names the variable, the address and the cause."""


def create(address: str, port: int, address_variable: str = "BIND_ADDRESS") -> socket.socket:
    """A listening TCP socket that no other process shares; the address `::` takes IPv4 as well, as it does in gRPC.

    Raises SettingsError for an address that is none of this machine's, and OSError for a port that can't be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = family == socket.AF_INET6 and ip_address(address).is_unspecified and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((address, port), family=family, backlog=512, dualstack_ipv6=both)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(
                f"{address_variable}={address!r} is not allowed: it must be an address of this machine, 0.0.0.0 or ::"
            ) from None
        raise


def listen(variable: str, address: str, port: int, address_variable: str = "BIND_ADDRESS") -> socket.socket:
    """A socket as create() makes it, for a port that the first variable chooses, on an address that the other does.

    Raises SettingsError for an address that is none of this machine's, and ListenError for a port that can't be had.
    """
    try:
        return create(address, port, address_variable)
    except OSError as error:
        cause = "is already in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise ListenError(f"{variable}={port}: port {port} of {address} {cause}") from None


@contextlib.asynccontextmanager
async def accepting(listening: socket.socket, factory: Callable[[], asyncio.Protocol]) -> AsyncIterator[None]:
    """Each connection gets a protocol of the factory's, as long as the context lasts; those open stay open after it.

    Not the server's own context, which waits until all clients are gone, from Python 3.12 on.
    """
    server = await asyncio.get_running_loop().create_server(factory, sock=listening)
    try:
        yield
    finally:
        server.close()
