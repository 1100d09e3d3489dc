"""The dial for faults, through the real server."""

import asyncio
import time
from collections import Counter

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from integration.chassis.served import RNG, rng
from integration.chassis.served import health as health_stub
from structlog.testing import capture_logs

from chassis.settings import Pace


async def codes(channel: grpc.aio.Channel, calls: int, limit: float = 0.5) -> Counter[str]:
    stub = RngServiceStub(channel)

    async def one() -> str:
        try:
            await stub.GetRandomBytes(GetRandomBytesRequest(size=8), timeout=limit)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    return Counter(await asyncio.gather(*(one() for _ in range(calls))))


async def test_nothing_is_wrong_and_nothing_is_said_by_default() -> None:
    with capture_logs() as lines:
        async with rng(pace=Pace.FULL) as channel:
            assert await codes(channel, 50) == {"OK": 50}
    assert not [line for line in lines if "faults" in line["event"]]


async def test_about_so_many_requests_fail_and_the_log_says_that_it_is_on_purpose() -> None:
    with capture_logs() as lines:
        async with rng(pace=Pace.FULL, fault_error_rate=0.5) as channel:
            seen = await codes(channel, 200)
    assert set(seen) == {"OK", "UNAVAILABLE"}
    assert 60 < seen["UNAVAILABLE"] < 140
    (said,) = [line for line in lines if line["event"] == "faults on purpose"]
    assert (said["log_level"], said["error_rate"]) == ("warning", 0.5)


async def test_about_so_many_requests_are_never_answered() -> None:
    async with rng(pace=Pace.FULL, fault_hang_rate=0.5) as channel:
        seen = await codes(channel, 200)
    assert set(seen) == {"OK", "DEADLINE_EXCEEDED"}
    assert 60 < seen["DEADLINE_EXCEEDED"] < 140


async def test_every_request_waits() -> None:
    async with rng(pace=Pace.FULL, fault_slow=0.2) as channel:
        began = time.monotonic()
        assert await codes(channel, 5) == {"OK": 5}
        assert 0.19 < time.monotonic() - began < 0.45


async def test_a_fault_breaks_a_stream() -> None:
    async with rng(pace=Pace.FULL, fault_error_rate=1) as channel:
        stream = RngServiceStub(channel).StreamRandomBytes()
        await stream.write(StreamRandomBytesRequest(batch_id=1, count=1, size=8))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_stays_true_when_every_request_fails() -> None:
    async with rng(pace=Pace.FULL, fault_error_rate=1) as channel:
        assert await codes(channel, 5) == {"UNAVAILABLE": 5}
        response = await health_stub(channel).Check(HealthCheckRequest(service=RNG))
        assert response.status == HealthCheckResponse.SERVING
