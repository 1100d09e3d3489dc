"""Faults on purpose, in a real server."""

import asyncio
import time
from collections import Counter
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from structlog.testing import capture_logs
from support.served import RNG, hasher, health, rng, until_failure


async def codes(channel: grpc.aio.Channel, calls: int) -> Counter[str]:
    stub = RngServiceStub(channel)
    found = await asyncio.gather(
        *(stub.GetRandomBytes(GetRandomBytesRequest(size=8), timeout=3).code() for _ in range(calls))
    )
    return Counter(code.name for code in found)


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"fault_error_rate": 0.5}, "UNAVAILABLE"), ({"fault_hang_rate": 0.5}, "DEADLINE_EXCEEDED"), ({}, "")],
)
async def test_about_as_many_requests_fail_as_are_to_and_the_log_says_so(settings: dict[str, Any], code: str) -> None:
    with capture_logs() as lines:
        async with rng(**settings) as channel:
            found = await codes(channel, 200)
    logged = [line for line in lines if line["event"] == "faults on purpose"]
    if not code:
        assert (found, logged) == ({"OK": 200}, [])
        return
    assert set(found) == {"OK", code}
    assert 60 < found[code] < 140
    [line] = logged
    assert line["log_level"] == "warning"
    assert line[next(iter(settings)).removeprefix("fault_")] == 0.5


BATCH = StreamHashesRequest(batch_id=1, data=bytes(8), message_size=8)


async def test_a_batch_that_hangs_leaves_its_stream_open() -> None:
    async with hasher(fault_hang_rate=1) as channel:
        reading = asyncio.create_task(until_failure(HasherServiceStub(channel).StreamHashes(iter([BATCH]))))
        assert await asyncio.wait((reading,), timeout=0.5) == (set(), {reading})


async def test_every_request_waits() -> None:
    async with hasher(fault_slow=0.2) as channel:
        began = time.monotonic()
        assert len([each async for each in HasherServiceStub(channel).StreamHashes(iter([BATCH] * 2))]) == 2
        assert time.monotonic() - began >= 0.39


async def test_health_is_serving_when_every_request_fails() -> None:
    async with rng(fault_error_rate=1) as channel:
        assert await codes(channel, 5) == {"UNAVAILABLE": 5}
        response = await health(channel).Check(HealthCheckRequest(service=RNG))
    assert response.status == HealthCheckResponse.SERVING
