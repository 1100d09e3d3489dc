"""The endpoint of health and metrics, which every service has: whoever holds connections there, a probe gets in."""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from support.probe import ask
from system.abuse.victim import Victim

from chassis.admin_endpoint import MAX_CONNECTIONS

HELD = 500
LIMIT = 0.1
ATTEMPTS = 5

SENT = {
    "nothing": b"",
    "half a head": b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Half: ",
    "questions whose answers it does not read": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    "a body without an end": b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1_000),
}


@contextmanager
def held(victim: Victim, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have sent this."""
    with ExitStack() as stack:
        clients = []
        for _ in range(HELD):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", victim.metrics_port)))
            if sent:
                client.sendall(sent)
            clients.append(client)
        yield clients


def quickest(probe: Callable[[], object]) -> float:
    """Seconds, of several attempts, since whatever else runs on this machine only adds to it."""
    taken = []
    for _ in range(ATTEMPTS):
        begin = time.monotonic()
        probe()
        taken.append(time.monotonic() - begin)
    return min(taken)


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT.keys())
def test_a_probe_gets_in(rng: Victim, sent: bytes) -> None:
    with rng.unharmed(), held(rng, sent):
        assert quickest(lambda: ask(rng.metrics_port, "/readyz")) < LIMIT
        process = psutil.Process(rng.process.popen.pid)
        open_here = [each for each in process.net_connections("tcp") if each.laddr.port == rng.metrics_port]
        assert len(open_here) <= MAX_CONNECTIONS + 1  # the one that listens
    # A body is refused, and its connection ends by itself after a second: maybe before it has to make room.
    if not sent.startswith(b"POST"):
        assert rng.samples()("dockercoins_closed_admin_connections_total") >= HELD - MAX_CONNECTIONS


@pytest.mark.parametrize(
    "headers", [{"X-Long": "a" * 5_000}, {f"X-{number}": "a" for number in range(100)}], ids=["long", "many"]
)
def test_a_head_beyond_the_bound_is_refused_without_a_line_in_the_log(rng: Victim, headers: dict[str, str]) -> None:
    before = rng.process.text
    connection = http.client.HTTPConnection("127.0.0.1", rng.metrics_port, timeout=5)
    connection.request("GET", "/readyz", headers=headers)
    assert connection.getresponse().status == 400
    connection.close()
    assert rng.ready()
    assert rng.process.text == before


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405), ("PUT", 405), ("X", 405)])
def test_nothing_but_reading(rng: Victim, method: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rng.metrics_port, timeout=5)
    connection.request(method, "/readyz")
    assert connection.getresponse().status == status
    connection.close()
