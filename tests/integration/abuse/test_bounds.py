"""The bounds of docs/operations.md: a client beyond one is refused or closed, and others do not notice.

Where a bound is of thousands, the code has a smaller one here; tests/system/test_abuse.py has the real ones.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from hyperframe.frame import ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, PingFrame
from support import served
from support.free_port import free_port
from support.raw_h2 import CALLS, SIZE_4, STREAMS, RawClient, message
from support.waiting import wait_until

from chassis import grpc_options
from chassis.grpc_options import MAX_STREAMS
from chassis.grpc_server import server

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


@pytest.mark.parametrize(("name", "bound"), [("rng", 16 * 1_024), ("hasher", 2 * 1_024 * 1_024 + 64 * 1_024)])
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


async def test_calls_beyond_those_of_a_server_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CALLS", BOUND)
    port = free_port()

    def hold_calls() -> None:
        with RawClient(port) as client:
            for _ in range(BOUND + 10):
                client.open(STREAMS["rng"])
            wait_until(lambda: client.read(0.05) is not None and len(client.statuses) >= 10)
            assert {code for code, _ in client.statuses.values()} == {RESOURCE_EXHAUSTED}
            assert len(client.statuses) == 10

    async with served.rng(port=port):
        await asyncio.to_thread(hold_calls)


async def test_connections_beyond_those_of_a_server_are_closed_and_the_others_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A probe over gRPC opens a connection, so it fails; docs/security.md says so."""
    options = {**dict(grpc_options.SERVER), "grpc.max_allowed_incoming_connections": BOUND}
    monkeypatch.setattr(grpc_options, "SERVER", tuple(options.items()))
    port = free_port()

    def hold_connections() -> None:
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(port)) for _ in range(BOUND)]
            assert all(client.answers(CALL, SIZE_4) for client in clients)
            with RawClient(port) as beyond:
                assert beyond.until_closed(30)
            assert clients[0].answers(CALL, SIZE_4)

    async with served.rng(port=port):
        await asyncio.to_thread(hold_connections)
        # The server may not have seen the end of the others yet.
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await served.health(channel).Check(HealthCheckRequest(), wait_for_ready=True, timeout=10)
