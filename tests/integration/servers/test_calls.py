"""What a call leaves behind: a line in the log, and numbers in the metrics."""

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

from chassis.grpc_server.interceptors import MAX_PEER_LENGTH
from chassis.health import Health
from chassis.telemetry import Telemetry

UNARY, STREAM = "GetRandomBytes", "StreamRandomBytes"

ONE = GetRandomBytesRequest(size=1).SerializeToString()
GOOD = StreamRandomBytesRequest(batch_id=1, count=1, size=32).SerializeToString()
BAD = StreamRandomBytesRequest(batch_id=17, count=0, size=32).SerializeToString()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Health())


def access_lines(lines: list[Any]) -> list[Any]:
    """The lines of calls; all are there once the server has stopped."""
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


async def test_a_stream_is_one_line_for_all_its_batches(lines: list[Any]) -> None:
    requests = [StreamHashesRequest(batch_id=number, data=bytes(64), message_size=32) for number in range(3)]
    metadata = (("client-id", "w" * 5_000), ("stream-id", "5"))
    async with hasher(delay=0.1) as channel:
        responses = [each async for each in HasherServiceStub(channel).StreamHashes(iter(requests), metadata=metadata)]
    [line] = access_lines(lines)
    assert line.pop("seconds") >= 0.29
    assert line == {
        "event": "StreamHashes", "log_level": "info", "peer": "w" * MAX_PEER_LENGTH, "stream": 5, "code": "OK",
        "batches": 3, "bytes_in": sum(request.ByteSize() for request in requests),
        "bytes_out": sum(response.ByteSize() for response in responses),
    }  # fmt: skip


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
        untyped: Any = channel  # whose types know no call without a serializer
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
    [line] = access_lines(lines)
    assert (line["event"], line["code"], line["batches"]) == (method, code, sent)
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert "stream" not in line, "its number is none"
    assert counted(telemetry) == going_on + Counter(ended)


async def test_a_defect_is_logged_as_unknown_and_the_server_serves_on(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl.RAND_bytes", Mock(side_effect=RuntimeError("broken")))
    async with rng() as channel:
        for method, request in ((UNARY, ONE), (STREAM, GOOD)):
            _, failure = await until_failure(raw_stream(channel, f"/{RNG}/{method}", request))
            assert failure.code() is grpc.StatusCode.UNKNOWN
    assert [(line["event"], line["code"], line["batches"]) for line in access_lines(lines)] == [
        (UNARY, "UNKNOWN", 0),
        (STREAM, "UNKNOWN", 0),
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
            untyped: Any = channel  # whose types know no call without a serializer
            call = untyped.unary_unary(f"/{RNG}/Get{number}")(b"")
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        after = counted(telemetry)
    assert after.keys() == before.keys()
    assert not any(after.values())
    assert [line["event"] for line in lines] == ["listening"]


async def test_calls_that_fail_alike_or_carry_nothing_are_a_line_a_second_with_their_count(lines: list[Any]) -> None:
    """Those that are held back are logged when the server stops, at the latest."""
    calls = 200
    began = time.monotonic()
    async with rng() as channel:
        stub: Any = RngServiceStub(channel)
        for _ in range(calls):
            await stub.GetRandomBytes(GetRandomBytesRequest(size=0)).code()
            await stub.StreamRandomBytes(iter(())).code()
        await stub.GetRandomBytes(GetRandomBytesRequest(size=1))
    seconds = time.monotonic() - began
    for event in (UNARY, STREAM, "request refused"):
        alike = [line for line in lines if line["event"] == event and "times" in line]
        assert sum(line["times"] for line in alike) == calls
        assert len(alike) <= seconds + 2
    assert sum("times" not in line for line in access_lines(lines)) == 1


@pytest.mark.parametrize(
    ("bad", "batch", "details"),
    [(BAD, 17, "count: 0 is not allowed"), (b"\xff", None, "(message): 1 bytes is not allowed")],
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
