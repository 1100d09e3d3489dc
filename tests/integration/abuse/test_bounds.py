"""The bounds of docs/operations.md: a client beyond one is refused or closed, and others do not notice.

Where a bound is of thousands, the code has a smaller one here; tests/system/test_abuse.py has the real ones.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, PingFrame
from support import served
from support.admin_endpoint import scrape
from support.free_port import free_port
from support.raw_h2 import ABUSER, CALLS, SIZE_4, STREAMS, RawClient, message
from support.waiting import wait_until

from chassis.grpc_options import MAX_STREAMS
from chassis.grpc_server import admission, eviction
from chassis.grpc_server.connections import Connections

from .conftest import Ports

CALL = CALLS["rng"]
OK = 0
RESOURCE_EXHAUSTED = 8

BOUND = 20


@pytest.fixture
def other(ports: Ports) -> Iterator[RawClient]:
    """A client that was connected before."""
    with RawClient(ports.rng) as client:
        assert client.answers(CALL, SIZE_4)
        yield client


def test_a_connection_that_does_not_begin_to_speak_is_closed(ports: Ports) -> None:
    with socket.create_connection(("127.0.0.1", ports.rng), 15) as silent:
        while silent.recv(1_000):
            pass


def test_a_client_that_pings_too_often_is_closed(ports: Ports, other: RawClient) -> None:
    with RawClient(ports.rng) as client:
        client.send(*(PingFrame(0, b"12345678") for _ in range(10)))
        assert client.until_closed(30)
        last = client.received[-1]
        assert isinstance(last, GoAwayFrame)
        assert last.additional_data == b"too_many_pings"
    assert other.answers(CALL, SIZE_4)


@pytest.mark.parametrize(("size", "status"), [(7_000, OK), (17_000, RESOURCE_EXHAUSTED), (500_000, RESOURCE_EXHAUSTED)])
def test_metadata_beyond_the_bound_are_refused_with_the_bound(ports: Ports, size: int, status: int) -> None:
    with RawClient(ports.rng) as client:
        client.read(0.1)
        opening = client.opening(CALL, {f"x-{number}": "v" * 1_000 for number in range(size // 1_000)})
        first, *others = (opening.data[at : at + 16_000] for at in range(0, len(opening.data), 16_000))
        frames = [HeadersFrame(opening.stream_id, first), *(ContinuationFrame(opening.stream_id, o) for o in others)]
        frames[-1].flags.add("END_HEADERS")
        client.send(*frames, DataFrame(opening.stream_id, message(SIZE_4), flags=["END_STREAM"]))
        assert client.until_ended(opening.stream_id), client.received
        code, text = client.statuses[opening.stream_id]
        assert code == status
        assert status == OK or "16384" in text
        assert client.answers(CALL, SIZE_4)


@pytest.mark.parametrize(("name", "bound"), [("rng", 4 * 1_024), ("hasher", 2 * 1_024 * 1_024 + 64 * 1_024)])
def test_a_message_beyond_the_bound_is_refused_before_it_is_read(ports: Ports, name: str, bound: int) -> None:
    with RawClient(getattr(ports, name)) as client:
        client.read(0.1)
        stream = client.open(STREAMS[name])
        client.send_data(stream, b"\0" + (bound + 1).to_bytes(4, "big"))
        # Where the refusal comes before the call has begun, gRPC only resets the stream.
        if client.until_ended(stream, 5):
            code, text = client.statuses[stream]
            assert code == RESOURCE_EXHAUSTED
            assert str(bound) in text
        else:
            assert stream in client.resets, client.received


def test_streams_beyond_those_of_a_connection_are_refused(ports: Ports, other: RawClient) -> None:
    with RawClient(ports.rng) as client:
        client.read(0.2)
        client.send(*(client.opening(STREAMS["rng"]) for _ in range(MAX_STREAMS + 50)))
        wait_until(lambda: client.read(0.05) is not None and len(client.resets) == 50)
        assert not client.closed
        assert other.answers(CALL, SIZE_4)


def test_calls_beyond_those_of_an_address_are_refused_with_the_bound(
    ports: Ports, other: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_CALLS_OF_AN_ADDRESS", BOUND)
    before = scrape(ports.admin)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(ports.rng, source=ABUSER)) for _ in range(2)]
        for client in clients:
            for _ in range(BOUND):
                client.open(STREAMS["rng"])
        wait_until(lambda: sum(client.read(0.05) is not None and len(client.statuses) for client in clients) >= BOUND)
        statuses = [status for client in clients for status in client.statuses.values()]
        assert {(code, text.split()[0]) for code, text in statuses} == {(RESOURCE_EXHAUSTED, str(BOUND))}
        assert len(statuses) == BOUND
        assert other.answers(CALL, SIZE_4)
    after = scrape(ports.admin)
    refused = "dockercoins_server_refused_calls_total"
    assert after(refused, bound="address") - before(refused, bound="address") == BOUND
    handled = "grpc_server_handled_total"
    codes = [each.total(handled, grpc_code="RESOURCE_EXHAUSTED") for each in (before, after)]
    assert codes[1] - codes[0] == BOUND


def test_connections_beyond_those_of_an_address_are_closed(
    ports: Ports, other: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eviction, "MAX_CONNECTIONS_OF_AN_ADDRESS", BOUND)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(ports.rng, source=ABUSER)) for _ in range(BOUND + 10)]
        wait_until(lambda: sum(client.until_closed(0.001) for client in clients) == 10)
        assert other.answers(CALL, SIZE_4)
        closed = scrape(ports.admin)("dockercoins_server_closed_connections_total", bound="connections")
        assert closed == 10


def test_calls_whose_request_never_comes_do_not_add_up(
    ports: Ports, other: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No method sees them, so none could refuse them."""
    monkeypatch.setattr(eviction, "MAX_CALLS_OF_AN_ADDRESS", BOUND)
    monkeypatch.setattr(eviction, "CROWD", BOUND // 2)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(ports.rng, source=ABUSER)) for _ in range(3)]
        for client in clients:
            client.send(*(client.opening(CALL) for _ in range(BOUND // 2)))
        wait_until(lambda: sum(client.until_closed(0.01) for client in clients) == 1)
        wait_until(lambda: scrape(ports.admin)("dockercoins_server_calls") <= BOUND)
        assert other.answers(CALL, SIZE_4)


@pytest.mark.parametrize("method", ["/no.such.Service/Method", "/grpc.health.v1.Health/Watch", CALL, STREAMS["rng"]])
def test_calls_are_counted_until_they_end_whatever_they_call(ports: Ports, method: str) -> None:
    with RawClient(ports.rng) as client:
        for _ in range(20):
            client.open(method)
        client.read(0.2)
    wait_until(lambda: scrape(ports.admin)("dockercoins_server_calls") == 0)


async def test_calls_of_a_client_that_has_gone_do_not_count_for_its_address() -> None:
    port = free_port()
    connections = Connections(port)

    def open_calls(client: RawClient) -> None:
        for _ in range(3):
            client.open(STREAMS["rng"])
        wait_until(lambda: client.read(0.05) is not None and begun(client) == 3)

    def begun(client: RawClient) -> int:
        return sum(isinstance(frame, HeadersFrame) for frame in client.received)

    async with served.rng(port=port):
        with RawClient(port) as client:
            await asyncio.to_thread(open_calls, client)
            assert list(connections.open_streams().values()) == [3]
        # This waits in the event loop's thread, so that the server can't end the calls meanwhile.
        wait_until(lambda: connections.peers() == [])
        assert connections.open_streams() == {}
