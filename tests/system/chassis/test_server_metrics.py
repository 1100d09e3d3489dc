"""What a server counts of its calls: how they end, and the messages of unary ones and of streams."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from support.served import RNG, raw_call, rng, until_failure

from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry

UNARY = {"grpc_type": "unary", "grpc_service": RNG, "grpc_method": "GetRandomBytes"}
STREAM = {"grpc_type": "bidi_stream", "grpc_service": RNG, "grpc_method": "StreamRandomBytes"}

GOOD = StreamRandomBytesRequest(count=1, size=32)
BAD = StreamRandomBytesRequest(count=0, size=32)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Health())


class Counts:
    """Of the methods of rng."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._registry = telemetry.metrics

    def value(self, name: str, labels: dict[str, str]) -> float:
        return self._registry.get_sample_value(f"grpc_server_{name}", labels) or 0

    def codes(self, labels: dict[str, str]) -> dict[str, float]:
        return {
            sample.labels["grpc_code"]: sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if sample.name == "grpc_server_handled_total" and labels.items() <= sample.labels.items() and sample.value
        }

    async def ended(self, labels: dict[str, str], calls: int) -> dict[str, float]:
        """The codes of so many calls; a client may know of a call's end a little earlier."""
        async with asyncio.timeout(2):
            while self.value("handling_seconds_count", labels) < calls:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.005)
        return self.codes(labels)

    def messages(self, labels: dict[str, str]) -> tuple[float, float]:
        """Received and sent."""
        return self.value("msg_received_total", labels), self.value("msg_sent_total", labels)


@pytest.fixture
def counts(telemetry: Telemetry) -> Counts:
    return Counts(telemetry)


async def test_unary_calls_are_counted_by_code(telemetry: Telemetry, counts: Counts) -> None:
    async with rng(telemetry) as channel:
        stub = RngServiceStub(channel)
        await stub.GetRandomBytes(GetRandomBytesRequest(size=1))
        for _ in range(2):
            code = await stub.GetRandomBytes(GetRandomBytesRequest(size=0)).code()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert await counts.ended(UNARY, 3) == {"OK": 1, "INVALID_ARGUMENT": 2}
        assert counts.value("started_total", UNARY) == 3
        assert counts.messages(UNARY) == (3, 1)
        assert counts.messages(STREAM) == (0, 0)


async def test_each_message_of_a_stream_is_counted(telemetry: Telemetry, counts: Counts) -> None:
    async with rng(telemetry) as channel:
        answers = [each async for each in RngServiceStub(channel).StreamRandomBytes(iter([GOOD] * 5))]
        assert len(answers) == 5
        assert await counts.ended(STREAM, 1) == {"OK": 1}
        assert counts.messages(STREAM) == (5, 5)


async def test_a_stream_is_refused_with_what_it_had_answered(telemetry: Telemetry, counts: Counts) -> None:
    async with rng(telemetry) as channel:
        await until_failure(RngServiceStub(channel).StreamRandomBytes(iter([GOOD, GOOD, BAD])))
        assert await counts.ended(STREAM, 1) == {"INVALID_ARGUMENT": 1}
        assert counts.messages(STREAM) == (3, 2)


async def test_a_stream_given_up_is_cancelled_and_counts_while_it_is_open(telemetry: Telemetry, counts: Counts) -> None:
    async with rng(telemetry) as channel:
        stream = RngServiceStub(channel).StreamRandomBytes()
        await stream.write(GOOD)
        await stream.read()
        assert counts.messages(STREAM) == (1, 1)
        assert (counts.value("started_total", STREAM), counts.codes(STREAM)) == (1, {})
        stream.cancel()
        assert await counts.ended(STREAM, 1) == {"CANCELLED": 1}


async def test_a_fault_on_purpose_is_counted_as_the_failure_it_is(telemetry: Telemetry, counts: Counts) -> None:
    async with rng(telemetry, fault_error_rate=1) as channel:
        await until_failure(RngServiceStub(channel).StreamRandomBytes(iter([GOOD])))
        assert await counts.ended(STREAM, 1) == {"UNAVAILABLE": 1}


async def test_calls_of_no_method_make_no_series(telemetry: Telemetry, counts: Counts) -> None:
    """Whoever calls can't make as many series as there are names."""

    def series() -> int:
        return sum(len(family.samples) for family in telemetry.metrics.collect())

    async with rng(telemetry) as channel:
        before = series()
        for number in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await raw_call(channel, f"/{RNG}/Get{number}", b"")
        assert series() == before


async def test_the_time_of_a_stream_is_all_that_it_is_open(telemetry: Telemetry, counts: Counts) -> None:
    async def requests() -> AsyncIterator[StreamRandomBytesRequest]:
        yield GOOD
        await asyncio.sleep(0.3)

    async with rng(telemetry) as channel:
        async for _ in RngServiceStub(channel).StreamRandomBytes(requests()):
            pass
        await counts.ended(STREAM, 1)
        assert 0.3 <= counts.value("handling_seconds_sum", STREAM) < 2
