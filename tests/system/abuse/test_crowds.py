"""Too many connections, streams and calls: whoever has them is refused or cut off, and others don't notice."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, GetRandomBytesResponse
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from system.abuse.raw_h2 import RawClient
from system.abuse.victim import CALL, PATHS, SIZE_4, Victim

from chassis.grpc_options import MAX_CONNECTIONS, MAX_STREAMS
from chassis.grpc_server import eviction
from chassis.grpc_server.admission import MAX_CALLS_OF_AN_ADDRESS
from chassis.grpc_server.eviction import MAX_CONNECTIONS_OF_AN_ADDRESS

pytestmark = pytest.mark.pair(reason="thousands of connections are made, and others are to wait less than a second")

RESOURCE_EXHAUSTED = 8
OTHER_ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
"""All of loopback's are this machine's on Linux."""


def until(condition: Callable[[], bool], limit: float = 15.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


@contextmanager
def polite(victim: Victim) -> Iterator[Callable[[], float]]:
    """Someone who is connected and asks now and then; the seconds that it took."""
    with grpc.insecure_channel(f"127.0.0.1:{victim.port}") as channel:
        stub: Any = RngServiceStub(channel)

        def ask() -> float:
            begin = time.monotonic()
            response = stub.GetRandomBytes(GetRandomBytesRequest(size=8), timeout=5)
            assert isinstance(response, GetRandomBytesResponse)
            return time.monotonic() - begin

        ask()
        yield ask


def crowd(stack: ExitStack, victim: Victim, size: int, source: str) -> list[RawClient]:
    return [stack.enter_context(RawClient(victim.port, source=source)) for _ in range(size)]


def closed(clients: list[RawClient]) -> int:
    return sum(client.until_closed(0.001) for client in clients)


def test_no_more_connections_than_the_bound_in_all(rng: Victim) -> None:
    with rng.unharmed(), ExitStack() as stack, polite(rng) as ask:
        clients = [
            client
            for source in OTHER_ADDRESSES
            for client in crowd(stack, rng, MAX_CONNECTIONS_OF_AN_ADDRESS - 20, source)
        ]
        assert len(clients) > MAX_CONNECTIONS
        assert ask() < 1
        assert rng.connections <= MAX_CONNECTIONS
        until(lambda: closed(clients) >= len(clients) + 1 - MAX_CONNECTIONS)
        assert ask() < 1
        assert rng.ready(1)


def test_one_address_leaves_room_for_others(rng: Victim) -> None:
    """It takes all connections there are; a second later others get in."""
    with rng.unharmed(), ExitStack() as stack, polite(rng) as ask:
        clients = crowd(stack, rng, MAX_CONNECTIONS + 10, OTHER_ADDRESSES[0])
        until(lambda: rng.samples()("dockercoins_server_closed_connections_total", bound="connections") > 0)
        until(lambda: rng.connections <= MAX_CONNECTIONS_OF_AN_ADDRESS + 1)
        assert ask() < 1
        with polite(rng) as another:
            assert another() < 1
        assert "connections closed" in rng.process.text
        assert closed(clients) >= MAX_CONNECTIONS - MAX_CONNECTIONS_OF_AN_ADDRESS


def test_streams_beyond_those_of_a_connection_are_refused(rng: Victim) -> None:
    with rng.unharmed(), RawClient(rng.port) as client, polite(rng) as ask:
        client.read(0.2)
        client.send(*(client.opening(PATHS["rng"]) for _ in range(MAX_STREAMS + 50)))
        client.read(0.5)
        assert len(client.resets) == 50
        assert not client.closed
        assert ask() < 1


def test_calls_beyond_those_of_an_address_are_refused_with_the_bound(rng: Victim) -> None:
    connections = MAX_CALLS_OF_AN_ADDRESS // MAX_STREAMS + 1
    rng.warm_up(connections - 1)
    with rng.unharmed(), ExitStack() as stack, polite(rng) as ask:
        clients = crowd(stack, rng, connections, OTHER_ADDRESSES[0])
        for client in clients:
            client.read(0.1)
            client.send(*(client.opening(PATHS["rng"]) for _ in range(MAX_STREAMS)))
        until(lambda: bool(refusals(clients)))
        statuses = refusals(clients)
        assert {code for code, _ in statuses} == {RESOURCE_EXHAUSTED}
        assert {text.split()[0] for _, text in statuses} == {str(MAX_CALLS_OF_AN_ADDRESS)}
        assert ask() < 1
        samples = rng.samples()
        assert samples("dockercoins_server_refused_calls_total", bound="address") >= len(statuses)
        handled = samples.total("grpc_server_handled_total", grpc_code="RESOURCE_EXHAUSTED")
        assert handled == samples("dockercoins_server_refused_calls_total", bound="address")


def refusals(clients: list[RawClient]) -> list[tuple[int, str]]:
    for client in clients:
        client.read(0.02)
    return [status for client in clients for status in client.statuses.values()]


def test_calls_whose_request_never_comes_do_not_add_up(rng: Victim) -> None:
    """No method sees them, so nobody could refuse them."""
    connections = eviction.MAX_CALLS_OF_AN_ADDRESS // MAX_STREAMS + 2
    rng.warm_up(connections - 2)
    with rng.unharmed(), ExitStack() as stack, polite(rng) as ask:
        clients = crowd(stack, rng, connections, OTHER_ADDRESSES[0])
        for client in clients:
            client.read(0.1)
            client.send(*(client.opening(CALL) for _ in range(MAX_STREAMS)))
        until(lambda: closed(clients) >= 2)
        until(lambda: rng.samples()("dockercoins_server_calls") <= eviction.MAX_CALLS_OF_AN_ADDRESS)
        assert ask() < 1


def test_one_that_asks_again_and_again_leaves_nothing_behind(rng: Victim) -> None:
    with rng.unharmed(), polite(rng) as ask:
        for _ in range(300):
            with RawClient(rng.port) as client:
                client.open(CALL, SIZE_4)
                client.open(PATHS["rng"])
        assert ask() < 1
        until(lambda: rng.samples()("dockercoins_server_calls") == 0)


@pytest.mark.parametrize("method", ["/no.such.Service/Method", "/grpc.health.v1.Health/Watch", CALL])
def test_calls_are_counted_until_they_end_whatever_they_call(rng: Victim, method: str) -> None:
    with rng.unharmed(), RawClient(rng.port) as client:
        client.read(0.1)
        for _ in range(20):
            client.open(method)
        client.read(0.2)
    until(lambda: rng.samples()("dockercoins_server_calls") == 0)
