import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache

PORTS = range(20_000, 32_000)
"""TCP ports that neither Linux nor macOS gives to connections or to who asks for any: what is free stays free until it
is used."""

SHARES = 8
"""Of those, one for each process that runs tests at the same time."""


def free_port() -> int:
    """A TCP port of loopback that is free, and that no other test is given for a long time."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many consecutive ones."""
    while True:
        first = _next()
        with ExitStack() as held, suppress(OSError):
            for port in (first, *(_next() for _ in range(count - 1))):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            if port == first + count - 1:
                return first


def _next() -> int:
    return next(_ports())


@cache
def _ports() -> Iterator[int]:
    """This process's share, again and again; from anywhere on, for tests of another checkout may run, too."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(PORTS) // SHARES
    share = PORTS[worker % SHARES * size :][:size]
    position = random.randrange(size)
    while True:
        yield share[position % size]
        position += 1
