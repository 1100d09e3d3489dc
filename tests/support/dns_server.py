"""A real name server for one name, whose answers tests change and make fail."""

import contextlib
import random
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto

TYPE_A = 1
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
RESPONSE = 0x8000 | 0x0400 | 0x0080
"""Flags: this is a response, authoritative, and recursion is available."""
RECURSION_DESIRED = 0x0100
HEADER = struct.Struct("!6H")
POINTER_TO_NAME = 0xC000 | HEADER.size
"""Instead of repeating the name: it is in the question, behind the header."""


class Mood(Enum):
    """How the server answers."""

    RIGHT = auto()
    EMPTY = auto()
    """The name exists and has no address."""
    FAILING = auto()
    SILENT = auto()
    SLOW = auto()
    """Right, after `delay` seconds."""


class DnsServer(socketserver.ThreadingUDPServer):
    """Says that the name has these addresses, in a new order each time; no others, and no IPv6 ones."""

    daemon_threads = True
    delay = 0.8
    """Seconds, in the slow mood."""

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Query)
        self.name = name
        self.addresses: list[str] = []
        self.mood = Mood.RIGHT
        self.queries = 0
        """So far."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def response(self, query: bytes) -> bytes:
        number, flags, *_ = HEADER.unpack_from(query)
        name, end = _name(query)
        (kind,) = struct.unpack_from("!H", query, end)
        code, addresses = NO_ERROR, list[str]()
        if name != self.name:
            code = NO_SUCH_NAME
        elif self.mood is Mood.FAILING:
            code = SERVER_FAILURE
        elif kind == TYPE_A and self.mood is not Mood.EMPTY:
            addresses = random.sample(self.addresses, len(self.addresses))
        header = HEADER.pack(number, RESPONSE | (flags & RECURSION_DESIRED) | code, 1, len(addresses), 0, 0)
        answers = (
            struct.pack("!HHHIH4s", POINTER_TO_NAME, TYPE_A, 1, 600, 4, socket.inet_aton(address))
            for address in addresses
        )
        return header + query[HEADER.size : end + 4] + b"".join(answers)


class _Query(socketserver.BaseRequestHandler):
    server: DnsServer

    def handle(self) -> None:
        data, answering = self.request
        self.server.queries += 1
        if self.server.mood is Mood.SILENT:
            return
        if self.server.mood is Mood.SLOW:
            time.sleep(self.server.delay)
        with contextlib.suppress(OSError):  # the test is over
            answering.sendto(self.server.response(data), self.client_address)


def _name(query: bytes) -> tuple[str, int]:
    """The name asked for, and where it ends."""
    labels = []
    at = HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels), at + 1


@contextlib.contextmanager
def dns_server(name: str) -> Iterator[DnsServer]:
    """A server of this name on a free port of 127.0.0.1."""
    with DnsServer(name) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
