"""A real name server on this machine, over UDP and TCP, whose answers can be changed and made to fail."""

import contextlib
import random
import socketserver
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from support.free_port import free_port

# How long an answer may be kept: a client that keeps it never finds a new replica.
TTL_S = 600

# What an answer over UDP may take where the query names no other size (RFC 1035). This server allows no other.
MAX_UDP_BYTES = 512


class Mood(Enum):
    RIGHT = auto()
    EMPTY = auto()
    FAILING = auto()
    SILENT = auto()
    SLOW = auto()


class DnsServer:
    """Answers with the IPv4 addresses of its names, in a new order each time."""

    def __init__(self, *names: str) -> None:
        self.addresses: dict[str, list[str]] = {name: [] for name in names}
        self.mood = Mood.RIGHT
        # Seconds that an answer takes in the slow mood.
        self.delay_s = 0.8
        # Where its names end, if other names go to another server, whose mood that is; and those names, as they came.
        self.zone = ""
        self.upstream = Mood.RIGHT
        self.forwarded: list[str] = []
        self.queries = 0
        self.port = free_port()
        self.udp = socketserver.ThreadingUDPServer(("127.0.0.1", self.port), self._udp_query)
        self.tcp = socketserver.ThreadingTCPServer(("127.0.0.1", self.port), self._tcp_connection)
        self.udp.daemon_threads = self.tcp.daemon_threads = True

    def target(self, name: str, port: int) -> str:
        """Return the gRPC target of a name that this server resolves."""
        return f"dns://127.0.0.1:{self.port}/{name}:{port}"

    def _udp_query(self, request: Any, client: Any, _: object) -> Any:
        query, server = request
        if response := self._response(query):
            # As many addresses as fit, marked as truncated if they are not all.
            with contextlib.suppress(OSError):  # the client or this server has gone
                server.sendto(response.to_wire(max_size=MAX_UDP_BYTES, prefer_truncation=True), client)

    def _tcp_connection(self, connection: Any, *_: object) -> Any:
        with contextlib.suppress(OSError), connection.makefile("rwb") as stream:
            while prefix := stream.read(2):
                if response := self._response(stream.read(int.from_bytes(prefix, "big"))):
                    stream.write(response.to_wire(prepend_length=True))
                    stream.flush()

    def _response(self, query: bytes) -> dns.message.Message | None:
        self.queries += 1
        response = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
        [question] = response.question
        name = question.name.to_text(omit_final_dot=True).lower()
        mood = self.mood
        if not name.endswith(self.zone):
            self.forwarded.append(name)
            mood = self.upstream
        if mood is Mood.SILENT:
            return None
        if mood is Mood.SLOW:
            time.sleep(self.delay_s)
        addresses = self.addresses.get(name)
        if mood is Mood.FAILING:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif addresses is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A and mood is not Mood.EMPTY:
            shuffled = random.sample(addresses, len(addresses))
            response.answer = [dns.rrset.from_text(question.name, TTL_S, "IN", "A", each) for each in shuffled]
        return response


@contextlib.contextmanager
def dns_server(*names: str) -> Iterator[DnsServer]:
    """Serve these names on a free port of 127.0.0.1."""
    server = DnsServer(*names)
    with contextlib.ExitStack() as stack:
        for part in (server.udp, server.tcp):
            stack.callback(part.server_close)
            thread = threading.Thread(target=part.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(part.shutdown)
        yield server
