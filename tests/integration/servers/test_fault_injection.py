"""Faults on purpose, in a real server."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from structlog.testing import capture_logs
from support.served import RNG, hasher, health, rng, until_failure

BATCH = StreamHashesRequest(batch_id=1, data=bytes(8), message_size=8)


@pytest.mark.parametrize(("kind", "code"), [("error_rate", "UNAVAILABLE"), ("hang_rate", "DEADLINE_EXCEEDED")])
async def test_about_as_many_requests_fail_as_are_to_and_health_is_serving_and_the_log_says_so(
    kind: str, code: str
) -> None:
    faults: dict[str, Any] = {f"fault_{kind}": 0.5}
    with capture_logs() as lines:
        async with rng(**faults) as channel:
            stub: Any = RngServiceStub(channel)
            calls = [stub.GetRandomBytes(GetRandomBytesRequest(size=8), timeout=3) for _ in range(200)]
            codes = Counter([(await call.code()).name for call in calls])
            response = await health(channel).Check(HealthCheckRequest(service=RNG))
    assert set(codes) == {"OK", code}
    assert 60 < codes[code] < 140
    [line] = [line for line in lines if line["event"] == "faults on purpose"]
    assert (line["log_level"], line[kind]) == ("warning", 0.5)
    assert response.status == HealthCheckResponse.SERVING


async def test_a_batch_that_hangs_leaves_its_stream_open() -> None:
    async with hasher(fault_hang_rate=1) as channel:
        reading = asyncio.create_task(until_failure(HasherServiceStub(channel).StreamHashes(iter([BATCH]))))
        assert await asyncio.wait((reading,), timeout=0.5) == (set(), {reading})


async def test_every_request_waits() -> None:
    async with hasher(fault_slow=0.2) as channel:
        began = time.monotonic()
        assert len([each async for each in HasherServiceStub(channel).StreamHashes(iter([BATCH] * 2))]) == 2
        assert time.monotonic() - began >= 0.39
