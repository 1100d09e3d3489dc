"""What a call leaves behind: a line in the log, and numbers in the metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import (
    RngServiceServicer,
    RngServiceStub,
    add_RngServiceServicer_to_server,
)
from grpc_health.v1.health_pb2 import HealthCheckRequest
from structlog.testing import capture_logs
from support.served import RNG, hasher, health, raw_call, raw_stream, rng, served, until_failure

from chassis.grpc_server.caller import MAX_PEER
from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry
from rng_svc.settings import RngSettings

Line = dict[str, Any]

UNARY, STREAM = "GetRandomBytes", "StreamRandomBytes"
LIMIT_S = 20.0

GOOD = StreamRandomBytesRequest(batch_id=1, count=1, size=32)
GOOD_BYTES = GOOD.SerializeToString()
BAD_BYTES = StreamRandomBytesRequest(batch_id=17, count=0, size=32).SerializeToString()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


async def access_line(lines: list[Any]) -> Line:
    """Return the one access line, once it is there; a client may see the end of its call a little earlier."""
    async with asyncio.timeout(LIMIT_S):
        while not (found := [line for line in lines if "code" in line]):  # noqa: ASYNC110 - a list sends no event
            await asyncio.sleep(0.005)
    [line] = found
    assert isinstance(line, dict)
    return line


class Counts:
    """The metrics of the methods of rng."""

    def __init__(self) -> None:
        self.telemetry = Telemetry(Health())

    def value(self, name: str, method: str, **labels: str) -> float:
        kind = "unary" if method == UNARY else "bidi_stream"
        labels |= {"grpc_type": kind, "grpc_service": RNG, "grpc_method": method}
        return self.telemetry.metrics.get_sample_value(f"grpc_server_{name}", labels) or 0

    def messages(self, method: str) -> tuple[float, float]:
        """Return how many were received and sent."""
        return self.value("msg_received_total", method), self.value("msg_sent_total", method)

    async def received(self, method: str) -> None:
        """Wait for a message."""
        async with asyncio.timeout(LIMIT_S):
            while self.messages(method)[0] < 1:  # noqa: ASYNC110 - a counter sends no event
                await asyncio.sleep(0.005)

    def ended(self, method: str) -> dict[str, float]:
        """Return how many calls ended, by their codes."""
        return {
            sample.labels["grpc_code"]: sample.value
            for family in self.telemetry.metrics.collect()
            for sample in family.samples
            if sample.name == "grpc_server_handled_total" and sample.labels["grpc_method"] == method and sample.value
        }

    def series(self) -> int:
        return sum(len(family.samples) for family in self.telemetry.metrics.collect())


@pytest.fixture
def counts() -> Counts:
    return Counts()


async def test_a_stream_is_one_line_for_all_its_batches(lines: list[Any]) -> None:
    requests = [StreamHashesRequest(batch_id=number, data=bytes(64), message_size=32) for number in range(3)]
    metadata = (("client-id", "w" * 5_000), ("stream-id", "5"))
    async with hasher(delay=0.1) as channel:
        responses = [each async for each in HasherServiceStub(channel).StreamHashes(iter(requests), metadata=metadata)]
    line = await access_line(lines)
    assert line.pop("seconds") >= 0.29
    assert line == {
        "event": "StreamHashes", "log_level": "info", "peer": "w" * MAX_PEER, "stream": 5, "code": "OK", "batches": 3,
        "bytes_in": sum(request.ByteSize() for request in requests),
        "bytes_out": sum(response.ByteSize() for response in responses),
    }  # fmt: skip


async def test_a_stream_whose_number_is_none_has_none(lines: list[Any]) -> None:
    async with rng() as channel:
        metadata = (("client-id", "worker-1"), ("stream-id", "9" * 5_000))
        assert [each async for each in RngServiceStub(channel).StreamRandomBytes(iter([]), metadata=metadata)] == []
    line = await access_line(lines)
    assert (line["peer"], line["code"]) == ("worker-1", "OK")
    assert "stream" not in line


async def one_call(channel: Any, counts: Counts) -> None:
    await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=1))


async def one_bad_call(channel: Any, counts: Counts) -> None:
    await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=0)).code()


async def call_given_up(channel: Any, counts: Counts) -> None:
    call = RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32))
    await counts.received(UNARY)
    call.cancel()


async def whole_stream(channel: Any, counts: Counts) -> None:
    assert len([each async for each in RngServiceStub(channel).StreamRandomBytes(iter([GOOD] * 5))]) == 5


async def bad_batch(channel: Any, counts: Counts) -> None:
    await until_failure(raw_stream(channel, f"/{RNG}/{STREAM}", GOOD_BYTES, GOOD_BYTES, BAD_BYTES))


async def stream_cancelled(channel: Any, counts: Counts) -> None:
    stream = RngServiceStub(channel).StreamRandomBytes()
    await stream.write(GOOD)
    await stream.read()
    assert counts.value("started_total", STREAM) == 1
    assert (counts.messages(STREAM), counts.ended(STREAM)) == ((1, 1), {})
    stream.cancel()


async def failing_stream(channel: Any, counts: Counts) -> None:
    await until_failure(RngServiceStub(channel).StreamRandomBytes(iter([GOOD])))


Act = Callable[[Any, Counts], Awaitable[None]]


class Ending(NamedTuple):
    act: Act
    settings: dict[str, Any]
    method: str
    code: str
    batches: int
    messages: tuple[int, int]


ENDINGS = [
    Ending(one_call, {}, UNARY, "OK", 1, (1, 1)),
    Ending(one_bad_call, {}, UNARY, "INVALID_ARGUMENT", 0, (1, 0)),
    Ending(call_given_up, {"delay": 10}, UNARY, "CANCELLED", 0, (1, 0)),
    Ending(whole_stream, {}, STREAM, "OK", 5, (5, 5)),
    Ending(bad_batch, {}, STREAM, "INVALID_ARGUMENT", 2, (3, 2)),
    Ending(stream_cancelled, {}, STREAM, "CANCELLED", 1, (1, 1)),
    Ending(failing_stream, {"fault_error_rate": 1}, STREAM, "UNAVAILABLE", 0, (1, 0)),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=[ending.act.__name__ for ending in ENDINGS])
async def test_a_call_is_logged_and_counted_as_it_ends(ending: Ending, counts: Counts, lines: list[Any]) -> None:
    async with rng(counts.telemetry, **ending.settings) as channel:
        await ending.act(channel, counts)
        line = await access_line(lines)
    method, other = (UNARY, STREAM) if ending.method == UNARY else (STREAM, UNARY)
    assert (line["event"], line["code"], line["batches"]) == (method, ending.code, ending.batches)
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert (counts.ended(method), counts.ended(other)) == ({ending.code: 1}, {})
    assert (counts.messages(method), counts.messages(other)) == (ending.messages, (0, 0))
    assert counts.value("started_total", method) == counts.value("handling_seconds_count", method) == 1


class BrokenRng(RngServiceServicer):
    async def GetRandomBytes(self, request: object, context: object) -> Any:  # noqa: N802 - a method of the API
        raise RuntimeError("broken")

    async def StreamRandomBytes(  # noqa: N802 - a method of the API
        self, request_iterator: AsyncIterator[Any], context: object
    ) -> AsyncIterator[Any]:
        async for _ in request_iterator:
            raise RuntimeError("broken")
        yield


async def test_a_defect_is_logged_as_unknown_and_the_server_serves_on() -> None:
    add_servicer = partial(add_RngServiceServicer_to_server, BrokenRng())
    async with served(RngSettings(port=0, instance="rng-1"), RNG, add_servicer) as channel:
        stub: Any = RngServiceStub(channel)
        for method, sent in ((UNARY, GetRandomBytesRequest(size=1)), (STREAM, iter([GOOD]))):
            with capture_logs() as lines:
                assert await getattr(stub, method)(sent).code() is grpc.StatusCode.UNKNOWN
                line = await access_line(lines)
            assert (line["event"], line["code"], line["batches"]) == (method, "UNKNOWN", 0)


async def test_health_and_methods_that_do_not_exist_leave_no_line_and_no_series(
    counts: Counts, lines: list[Any]
) -> None:
    async with rng(counts.telemetry) as channel:
        before = counts.series()
        await health(channel).Check(HealthCheckRequest(service=RNG))
        for number in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await raw_call(channel, f"/{RNG}/Get{number}", b"")
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert counts.series() == before
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
    assert sum("code" in line and "times" not in line for line in lines) == 1


@pytest.mark.parametrize(("bad", "batch"), [(BAD_BYTES, {"batch": 17}), (b"\xff", {})])
async def test_a_refused_batch_is_named_with_its_stream(bad: bytes, batch: Line, lines: list[Any]) -> None:
    metadata = (("client-id", "worker-1"), ("stream-id", "5"))
    async with rng() as channel:
        untyped: Any = channel  # whose types know no call without a serializer
        await until_failure(untyped.stream_stream(f"/{RNG}/{STREAM}")(iter([GOOD_BYTES, bad]), metadata=metadata))
    [refused] = [line for line in lines if line["event"] == "request refused"]
    expected = {"peer": "worker-1", "stream": 5, **batch}
    assert expected.items() <= refused.items()
    assert ("batch" in refused) is bool(batch)
    assert refused["details"].startswith("count: 0 is not allowed" if batch else "(message): 1 bytes is not allowed")
