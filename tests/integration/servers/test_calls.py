"""What a call leaves behind: a line in the log, and numbers in the metrics."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest
from structlog.testing import capture_logs
from support.served import RNG, hasher, health, raw_stream, rng, until_failure
from support.waiting import until

from chassis.grpc_server.access_log import MAX_LINES, MAX_PEERS, AccessLog, work
from chassis.grpc_server.interceptor import MAX_PEER_LENGTH
from chassis.health import Health
from chassis.telemetry import Telemetry

UNARY, STREAM = "GetRandomBytes", "StreamRandomBytes"

ONE = GetRandomBytesRequest(size=1).SerializeToString()
GOOD = StreamRandomBytesRequest(
    batches=[StreamRandomBytesRequest.Batch(batch_id=1, count=1, size=32)]
).SerializeToString()
BAD = StreamRandomBytesRequest(
    batches=[StreamRandomBytesRequest.Batch(count=1, size=32), StreamRandomBytesRequest.Batch(batch_id=17, size=32)]
).SerializeToString()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Health())


def ended_early(lines: list[Any]) -> list[Any]:
    """The lines of calls that failed; all are there once the server has stopped."""
    return [line for line in lines if "code" in line]


def counted(telemetry: Telemetry) -> Counter[tuple[str, ...]]:
    """The metrics of calls that count something, by names and labels."""
    return Counter(
        {
            (sample.name, *sample.labels.values()): int(sample.value)
            for family in telemetry.metrics.collect()
            for sample in family.samples
            if sample.name.startswith("grpc_server_") and sample.name.endswith(("_total", "_count"))
        }
    )


async def hash_batches(peer: str, requests: int, *, delay: float) -> None:
    """Have this number of batches hashed, of two messages each, on one stream, up to 60 at a time."""
    batches = [StreamHashesRequest.Batch(data=bytes(64), message_size=32) for _ in range(requests)]
    together = (StreamHashesRequest(batches=batches[begin : begin + 60]) for begin in range(0, requests, 60))
    async with hasher(delay=delay) as channel:
        stream = HasherServiceStub(channel).StreamHashes(together, metadata=(("client-id", peer),))
        assert len([response async for response in stream]) == requests


async def test_a_request_is_a_line(lines: list[Any]) -> None:
    """A batch of a stream is one, and the stream none."""
    peer = "w" * (MAX_PEER_LENGTH - 9) + "-0a1b2c3d"
    await hash_batches(peer + "e" * 5_000, 3, delay=0.1)
    async with rng() as channel:
        await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=2_000), metadata=(("client-id", "me"),))
    *hashed, sent = [line for line in lines if "figures" in line]
    for line in hashed:
        assert line["figures"].pop("seconds") >= 0.09
        assert line["figures"] == {"peer": peer, "requests": 1, "messages": 2, "bytes": 64}
        assert re.fullmatch(rf"hashed 2 messages of 32 bytes in \d+ ms for {peer[:-9]}", line["event"])
    assert len(hashed) == 3
    assert re.fullmatch(r"2,000 random bytes in \d+(\.\d)? ms for me", sent["event"])


async def test_many_requests_of_a_peer_are_a_line_a_second(lines: list[Any]) -> None:
    """Those that are held back are logged when the server stops, at the latest."""
    began = time.monotonic()
    await hash_batches("worker-1", 150, delay=0.02)
    seconds = time.monotonic() - began
    figures = [line["figures"] for line in lines if "figures" in line]
    assert sum(each["requests"] for each in figures) == 150
    assert sum(each["messages"] for each in figures) == 300
    assert sum(each["requests"] == 1 for each in figures) == MAX_LINES
    assert len(figures) - MAX_LINES <= seconds + 2
    assert re.fullmatch(r"hashed \d+ messages of 32 bytes in \d+ requests for worker-1", lines[-1]["event"])


def test_peers_beyond_a_number_share_their_lines_until_they_are_gone(lines: list[Any]) -> None:
    access_log = AccessLog(lambda messages, _: f"{messages} messages")
    work.set([(1, 32)])
    for number in range(10 * MAX_PEERS):
        access_log.add(f"peer-{number}", 0.1)
    access_log.flush()
    assert len(lines) == MAX_PEERS + MAX_LINES + 1
    assert (
        lines[-1]["event"] == f"{9 * MAX_PEERS - MAX_LINES} messages in {9 * MAX_PEERS - MAX_LINES} requests for others"
    )
    access_log.flush()
    access_log.add("late", 0.1)
    assert lines[-1]["event"] == "1 messages in 100 ms for late"


@pytest.mark.parametrize(
    ("method", "requests", "settings", "code", "received", "sent"),
    [
        (UNARY, [ONE], {}, "OK", 1, 1),
        (UNARY, [b""], {}, "INVALID_ARGUMENT", 1, 0),
        (UNARY, [ONE], {"delay": 10}, "CANCELLED", 1, 0),
        (STREAM, [GOOD] * 5, {}, "OK", 5, 5),
        (STREAM, [GOOD, GOOD, BAD], {}, "INVALID_ARGUMENT", 3, 2),
        (STREAM, [GOOD], {}, "CANCELLED", 1, 1),
        (STREAM, [GOOD], {"fault_error_rate": 1}, "UNAVAILABLE", 1, 0),
    ],
)
async def test_a_call_is_logged_and_counted_as_it_ends(
    *,
    method: str,
    requests: list[bytes],
    settings: dict[str, Any],
    code: str,
    received: int,
    sent: int,
    telemetry: Telemetry,
    lines: list[Any],
) -> None:
    labels = ("unary" if method == UNARY else "bidi_stream", RNG, method)
    going_on = Counter(
        {
            ("grpc_server_started_total", *labels): 1,
            ("grpc_server_msg_received_total", *labels): received,
            ("grpc_server_msg_sent_total", *labels): sent,
        }
    )
    ended = {("grpc_server_handled_total", *labels, code): 1, ("grpc_server_handling_seconds_count", *labels): 1}
    async with rng(telemetry, **settings) as channel:
        untyped: Any = channel  # whose types lack calls without a serializer
        call = untyped.stream_stream(f"/{RNG}/{method}")(metadata=(("stream-id", "9" * 5_000),))
        for request in requests:
            await call.write(request)
        if code == "CANCELLED":
            await until(lambda: counted(telemetry) == going_on)
            call.cancel()
        elif code == "OK":
            await call.done_writing()
            assert len([response async for response in call]) == sent
        else:
            await until_failure(call)
    early = [] if code in {"OK", "INVALID_ARGUMENT"} else [(f"{method} ended early", code)]
    assert [(line["event"], line["code"]) for line in ended_early(lines)] == early
    for line in ended_early(lines):
        assert line["peer"].startswith("ipv4:127.0.0.1:")
        assert "stream" not in line, "its number is none"
    assert sum("figures" in line for line in lines) == sent
    assert counted(telemetry) == going_on + Counter(ended)


async def test_each_of_many_streams_is_counted_as_its_client_ended_it(telemetry: Telemetry) -> None:
    """gRPC reports a cancellation only after the end of the requests."""
    half_closed, cancelled = 100, 300
    async with rng(telemetry) as channel:
        untyped: Any = channel  # whose types lack calls without a serializer
        for number in range(half_closed + cancelled):
            call = untyped.stream_stream(f"/{RNG}/{STREAM}")()
            await call.write(GOOD)
            await call.read()
            if number % 4:
                call.cancel()
            else:
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF
    handled = {labels[-1]: calls for labels, calls in counted(telemetry).items() if "_handled" in labels[0]}
    assert handled == {"OK": half_closed, "CANCELLED": cancelled}


async def test_a_defect_is_logged_as_unknown_and_the_server_serves_on(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl.RAND_bytes", Mock(side_effect=RuntimeError("broken")))
    async with rng() as channel:
        for method, request in ((UNARY, ONE), (STREAM, GOOD)):
            _, failure = await until_failure(raw_stream(channel, f"/{RNG}/{method}", request))
            assert failure.code() is grpc.StatusCode.UNKNOWN
    assert [(line["event"], line["code"]) for line in ended_early(lines)] == [
        (f"{UNARY} ended early", "UNKNOWN"),
        (f"{STREAM} ended early", "UNKNOWN"),
    ]


async def test_methods_are_counted_from_0_and_health_and_those_that_do_not_exist_leave_no_trace(
    telemetry: Telemetry, lines: list[Any]
) -> None:
    """A rate of failures is 0 before the first call, and not unknown."""
    async with rng(telemetry) as channel:
        before = counted(telemetry)
        assert ("grpc_server_handled_total", "unary", RNG, UNARY, "OK") in before
        await health(channel).Check(HealthCheckRequest(service=RNG))
        for number in range(20):
            untyped: Any = channel  # whose types lack calls without a serializer
            call = untyped.unary_unary(f"/{RNG}/Get{number}")(b"")
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        after = counted(telemetry)
    assert after.keys() == before.keys()
    assert not any(after.values())
    assert [line["event"] for line in lines] == ["listening"]


async def test_calls_that_fail_alike_are_a_line_a_second_with_their_count(lines: list[Any]) -> None:
    """Those that are held back are logged when the server stops, at the latest. Calls that carry nothing have none."""
    calls = 200
    began = time.monotonic()
    async with rng() as channel, rng(fault_error_rate=1) as faulty:
        stub: Any = RngServiceStub(channel)
        for _ in range(calls):
            await stub.GetRandomBytes(GetRandomBytesRequest(size=0)).code()
            await stub.StreamRandomBytes(iter(())).code()
            await RngServiceStub(faulty).GetRandomBytes(GetRandomBytesRequest(size=1)).code()
    seconds = time.monotonic() - began
    lines = [line for line in lines if line["event"] not in {"listening", "faults injected"}]
    for event in (f"{UNARY} ended early", "request refused"):
        alike = [line for line in lines if line["event"] == event]
        assert sum(line["times"] for line in alike) == calls
        assert len(alike) <= seconds + 2
        lines = [line for line in lines if line not in alike]
    assert lines == []


@pytest.mark.parametrize(
    ("bad", "batch", "details"),
    [(BAD, 17, "batches[1].count: 0 is not allowed"), (b"\xff", None, "(message): 1 bytes is not allowed")],
)
async def test_a_refused_batch_is_named_with_its_stream(
    bad: bytes, batch: int | None, details: str, lines: list[Any]
) -> None:
    metadata = (("client-id", "worker-1"), ("stream-id", "5"))
    async with rng() as channel:
        await until_failure(raw_stream(channel, f"/{RNG}/{STREAM}", GOOD, bad, metadata=metadata))
    [refused] = [line for line in lines if line["event"] == "request refused"]
    assert (refused["method"], refused["peer"], refused["stream"], refused.get("batch")) == (
        STREAM,
        "worker-1",
        5,
        batch,
    )
    assert refused["details"].startswith(details)
