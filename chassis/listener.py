"""Sockets to listen on, taken before a library sees them, so that a port in use is one clear line."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable


class ListenError(Exception):
    """An address can't be listened on. The message is one line that names the variable, the address and the cause."""


def listen(variable: str, host: str, port: int) -> socket.socket:
    """A listening TCP socket that no other process shares.

    Raises ListenError when the port is taken or the address is none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, UnicodeError) as error:  # the second is what a name gets that no host can have
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            cause = "is already in use"
        else:
            cause = f"can't be used ({getattr(error, 'strerror', error)})"
        raise ListenError(f"{variable}={port}: port {port} of {host} {cause}") from None


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
