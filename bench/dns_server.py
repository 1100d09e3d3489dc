"""A real name server on this machine, whose answers can be changed and made to fail."""

import contextlib
import random
import socketserver
import struct
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


LARGEST_PLAIN = 512
"""Bytes of an answer over UDP where who asks does not say that it takes more (RFC 1035); the rest is cut off, marked as
such, and asked for again over TCP."""


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
    """Says which addresses names have, in a new order each time; no others, and no IPv6 ones.

    Over UDP; its `whole` says over TCP what is too large for that.
    """

    daemon_threads = True
    delay = 0.8
    """Seconds, in the slow mood."""
    largest = 65_535
    """Bytes of an answer over UDP, at most."""

    def __init__(self, *names: str) -> None:
        while True:
            super().__init__(("127.0.0.1", 0), _Query)
            try:
                self.whole = _Whole(self)
                break
            except OSError:  # somebody listens on that port over TCP
                self.server_close()
        self.addresses: dict[str, list[str]] = {name: [] for name in names}
        self.mood = Mood.RIGHT
        self.queries = 0
        """So far, over UDP and TCP."""

    def server_close(self) -> None:
        """Listen no more."""
        super().server_close()
        if hasattr(self, "whole"):
            self.whole.server_close()

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

    def asked(self, data: bytes) -> dns.message.Message | None:
        """What to say to an encoded query; nothing if nothing is to be said."""
        self.queries += 1
        if self.mood is Mood.SILENT:
            return None
        if self.mood is Mood.SLOW:
            time.sleep(self.delay)
        return self.response(dns.message.from_wire(data))


class _Query(socketserver.BaseRequestHandler):
    server: DnsServer

    def handle(self) -> None:
        data, answering = self.request
        response = self.server.asked(data)
        if response is not None:
            most = min(max(response.request_payload, LARGEST_PLAIN), self.server.largest)
            with contextlib.suppress(OSError):  # whoever asked is gone, or this server
                answering.sendto(_cut_off(response, most), self.client_address)


def _cut_off(response: dns.message.Message, most: int) -> bytes:
    """What fits of a response, marked if something does not, as most name servers do it."""
    while len(wire := response.to_wire(max_size=65_535)) > most:
        response.flags |= dns.flags.TC
        [answer] = response.answer
        response.answer = [dns.rrset.from_rdata_list(answer.name, answer.ttl, list(answer)[:-1])]
    return wire


class _Whole(socketserver.ThreadingTCPServer):
    """The same answers over TCP, on the same port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: DnsServer) -> None:
        super().__init__(server.server_address[:2], _LongQuery)
        self.answering = server


class _LongQuery(socketserver.StreamRequestHandler):
    server: _Whole

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # as above
            while len(prefix := self.rfile.read(2)) == 2:
                (length,) = struct.unpack("!H", prefix)
                response = self.server.answering.asked(self.rfile.read(length))
                if response is not None:
                    self.wfile.write(response.to_wire(prepend_length=True, max_size=65_535))


@contextlib.contextmanager
def dns_server(*names: str) -> Iterator[DnsServer]:
    """A server of these names on a free port of 127.0.0.1."""
    with DnsServer(*names) as server:
        threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.05})
            for each in (server, server.whole)
        ]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            for each in (server, server.whole):
                each.shutdown()
            for thread in threads:
                thread.join()
