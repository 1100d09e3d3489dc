"""A real name server on this machine, whose answers can be changed and made to fail."""

import contextlib
import random
import socketserver
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 600
"""Seconds that an answer may be kept. gRPC's resolver keeps none; a long time shows that."""


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
    """Says which addresses names have, in a new order each time; no others, and no IPv6 ones."""

    daemon_threads = True
    delay = 0.8
    """Seconds, in the slow mood."""

    def __init__(self, *names: str) -> None:
        super().__init__(("127.0.0.1", 0), _Query)
        self.addresses: dict[str, list[str]] = {name: [] for name in names}
        self.mood = Mood.RIGHT
        self.queries = 0
        """So far."""

    def target(self, name: str, port: int) -> str:
        """Where a gRPC client finds that name by asking this server."""
        return f"dns://127.0.0.1:{self.server_address[1]}/{name}:{port}"

    def response(self, query: dns.message.Message) -> dns.message.Message:
        """What this server says now."""
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        question = query.question[0]
        addresses = self.addresses.get(question.name.to_text(omit_final_dot=True).lower())
        if addresses is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif self.mood is Mood.FAILING:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif addresses and question.rdtype == dns.rdatatype.A and self.mood is not Mood.EMPTY:
            shuffled = random.sample(addresses, len(addresses))
            response.answer.append(dns.rrset.from_text_list(question.name, TTL, "IN", "A", shuffled))
        return response


class _Query(socketserver.BaseRequestHandler):
    server: DnsServer

    def handle(self) -> None:
        data, answering = self.request
        self.server.queries += 1
        if self.server.mood is Mood.SILENT:
            return
        if self.server.mood is Mood.SLOW:
            time.sleep(self.server.delay)
        with contextlib.suppress(OSError):  # whoever asked is gone, or this server
            answering.sendto(self.server.response(dns.message.from_wire(data)).to_wire(), self.client_address)


@contextlib.contextmanager
def dns_server(*names: str) -> Iterator[DnsServer]:
    """A server of these names on a free port of 127.0.0.1."""
    with DnsServer(*names) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
