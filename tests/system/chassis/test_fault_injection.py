"""The dial for faults, through the real server."""

import asyncio
import time
from collections import Counter
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from structlog.testing import capture_logs
from support.served import HASHER, RNG, hasher, raw_stream, rng, until_failure
from support.served import health as health_stub

from chassis.settings import Pace


async def codes(channel: grpc.aio.Channel, calls: int, limit: float = 30.0) -> Counter[str]:
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
        seen = await codes(channel, 200, limit=3)
    assert set(seen) == {"OK", "DEADLINE_EXCEEDED"}
    assert 60 < seen["DEADLINE_EXCEEDED"] < 140


@pytest.mark.pair(reason="0.2 s are held to 0.45")
async def test_every_request_waits() -> None:
    async with rng(pace=Pace.FULL, fault_slow=0.2) as channel:
        began = time.monotonic()
        assert await codes(channel, 5) == {"OK": 5}
        assert 0.19 < time.monotonic() - began < 0.45


each_service = pytest.mark.parametrize(
    ("served", "method", "batch"),
    [
        (rng, f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest(batch_id=1, count=1, size=8)),
        (hasher, f"/{HASHER}/StreamHashes", StreamHashesRequest(batch_id=1, data=bytes(8), message_size=8)),
    ],
    ids=["rng", "hasher"],
)


@each_service
async def test_a_batch_that_fails_breaks_its_stream(served: Any, method: str, batch: Any) -> None:
    async with served(pace=Pace.FULL, fault_error_rate=1) as channel:
        answered, error = await until_failure(raw_stream(channel, method, batch.SerializeToString()))
        assert not answered
        assert error.code() is grpc.StatusCode.UNAVAILABLE


@each_service
async def test_a_batch_that_hangs_is_not_answered_and_its_stream_stays_open(
    served: Any, method: str, batch: Any
) -> None:
    async with served(pace=Pace.FULL, fault_hang_rate=1) as channel:
        reading = asyncio.create_task(until_failure(raw_stream(channel, method, batch.SerializeToString())))
        assert await asyncio.wait((reading,), timeout=0.5) == (set(), {reading})


@pytest.mark.pair(reason="0.4 s are held to 0.7")
@each_service
async def test_each_batch_of_a_stream_waits(served: Any, method: str, batch: Any) -> None:
    async with served(pace=Pace.FULL, fault_slow=0.2) as channel:
        began = time.monotonic()
        answers = [each async for each in raw_stream(channel, method, *[batch.SerializeToString()] * 2)]
        assert len(answers) == 2
        assert 0.39 < time.monotonic() - began < 0.7


async def test_health_stays_true_when_every_request_fails() -> None:
    async with rng(pace=Pace.FULL, fault_error_rate=1) as channel:
        assert await codes(channel, 5) == {"UNAVAILABLE": 5}
        response = await health_stub(channel).Check(HealthCheckRequest(service=RNG))
        assert response.status == HealthCheckResponse.SERVING
