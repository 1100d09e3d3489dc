import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from itertools import cycle

# TCP ports that neither Linux nor macOS gives to outgoing connections or to servers that listen on port 0.
PORTS = range(20_000, 32_000)

RANGE_SIZE = 200


def free_port() -> int:
    """Return a free TCP port of loopback that no other test is given for a long time."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports."""
    while True:
        first = next(_ports())
        with ExitStack() as held, suppress(OSError):
            for port in (first, *(next(_ports()) for _ in range(count - 1))):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            if port == first + count - 1:
                return first


@cache
def _ports() -> Iterator[int]:
    return cycle(_own_range()[0])


@cache
def _own_range() -> tuple[range, socket.socket]:
    # The process that listens on a range's first port has the range, until it ends; other checkouts may run tests, too.
    for start in random.sample(PORTS[::RANGE_SIZE], len(PORTS) // RANGE_SIZE):
        with suppress(OSError):
            return range(start + 1, start + RANGE_SIZE), socket.create_server(("127.0.0.1", start))
    raise OSError(f"all ranges of {RANGE_SIZE} ports between {PORTS.start} and {PORTS.stop} are in use")
