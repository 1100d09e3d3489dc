import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from structlog.testing import capture_logs
from support.served import HASHER, RNG, health, raw_stream, rng

from chassis.grpc_server import self_test
from chassis.health import Health
from chassis.telemetry import Telemetry
from hasher_svc import hashing
from hasher_svc.hashing import known_answer_test
from rng_svc import service

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


async def status(channel: grpc.aio.Channel, name: str) -> Any:
    """A service's state, or the code of the refusal."""
    call = health(channel).Check(HealthCheckRequest(service=name))
    return (await call).status if await call.code() is grpc.StatusCode.OK else await call.code()


async def states(channel: grpc.aio.Channel) -> AsyncIterator[int]:
    """The states of rng as they come."""
    async for response in health(channel).Watch(HealthCheckRequest(service=RNG)):
        yield response.status


async def test_health_tells_alive_from_ready_and_reports_every_change() -> None:
    ready = Health("something")
    async with rng(Telemetry(ready)) as channel, asyncio.timeout(20):
        watched = states(channel)
        assert await anext(watched) == NOT_SERVING
        for met in (True, False, True):
            await asyncio.sleep(0.05)  # nothing changes
            ready.set("something", met=met)
            expected = SERVING if met else NOT_SERVING
            assert await anext(watched) == expected
            assert (await status(channel, ""), await status(channel, RNG)) == (SERVING, expected)
        ready.drain()
        assert await anext(watched) == NOT_SERVING
        for unknown in (HASHER, "rng", "grpc.health.v1.Health"):
            assert await status(channel, unknown) is grpc.StatusCode.NOT_FOUND


async def test_a_server_whose_self_test_fails_is_alive_but_not_serving_until_it_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_test, "INTERVAL_S", 0.01)
    outcome: Any = True

    async def check() -> bool:
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    monkeypatch.setattr("rng_svc.__main__.repetition_test", check)
    with capture_logs() as lines:
        async with rng() as channel, asyncio.timeout(20):
            watched = states(channel)
            while await anext(watched) != SERVING:
                pass
            for outcome in (False, True, OSError("no random source")):
                assert await anext(watched) == (SERVING if outcome is True else NOT_SERVING)
                assert await status(channel, "") == SERVING
    failed = "self-test failed, no longer ready"
    changes = [line["event"] for line in lines if line["event"] in {failed, "self-test passed again"}]
    assert changes == [failed, "self-test passed again", failed]


async def test_a_server_notices_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random source that repeats itself, and wrong digests."""
    assert await service.repetition_test()
    assert await known_answer_test(hashing.HASHLIB)
    monkeypatch.setattr("ssl.RAND_bytes", bytes)
    monkeypatch.setattr(hashing, "sha256", hashlib.blake2s)
    assert not await service.repetition_test()
    assert not await known_answer_test(hashing.HASHLIB)


SERVICES = [
    RNG,
    "grpc.channelz.v1.Channelz",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]
SYMBOLS = {
    RNG: RNG,
    f"{RNG}.GetRandomBytes": RNG,
    "dockercoins.rng.v1.GetRandomBytesRequest.size": RNG,
    "grpc.health.v1.Health.Watch": "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection": "grpc.reflection.v1alpha.ServerReflection",
}
"""By symbol, the service that is declared in the same file."""

# gRPC's own servers in Go find none of these either: the name of a method has a dot where its path has a slash.
NO_SYMBOLS = (f"{RNG}/GetRandomBytes", f"{RNG}.Nothing", f".{RNG}", "rng", "")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_what_is_served_and_finds_the_files_of_symbols_and_of_nothing_else(version: str) -> None:
    requests = [
        ServerReflectionRequest(list_services=""),
        *(ServerReflectionRequest(file_containing_symbol=symbol) for symbol in (*SYMBOLS, *NO_SYMBOLS)),
    ]
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    async with rng() as channel:
        stream = raw_stream(channel, method, *(each.SerializeToString() for each in requests))
        answers = [ServerReflectionResponse.FromString(each) async for each in stream]  # the same in both versions
    assert [answer.original_request for answer in answers] == requests
    listed, found, not_found = answers[0], answers[1 : 1 + len(SYMBOLS)], answers[1 + len(SYMBOLS) :]
    assert [service.name for service in listed.list_services_response.service] == SERVICES
    files = [FileDescriptorProto.FromString(each.file_descriptor_response.file_descriptor_proto[0]) for each in found]
    assert [f"{file.package}.{service.name}" for file in files for service in file.service] == list(SYMBOLS.values())
    assert {each.error_response.error_code for each in not_found} == {grpc.StatusCode.NOT_FOUND.value[0]}
