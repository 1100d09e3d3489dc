"""What each gRPC server answers beside its own methods: health with its self-check, reflection and channelz."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1.channelz_pb2 import GetServersRequest
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from structlog.testing import capture_logs
from support.served import HASHER, RNG, hasher, rng
from support.served import health as health_stub

from chassis.grpc_server import self_check, server
from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry
from hasher_svc import fallback
from hasher_svc.digests import check_digests
from rng_svc import service
from rng_svc.service import RngService, check_source
from rng_svc.settings import RngSettings

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def rng_with(health: Health, check: Any = check_source) -> AsyncIterator[int]:
    """The port of a server with this health."""
    settings = RngSettings(port=0, instance="rng-1")
    add_servicer = RngService("rng-1", settings.pacing()).add_to
    async with server.serve(settings, Telemetry(health), RNG, add_servicer, check) as port:
        yield port


async def status(channel: grpc.aio.Channel, name: str) -> int:
    response = await health_stub(channel).Check(HealthCheckRequest(service=name))
    assert isinstance(response, HealthCheckResponse)
    return response.status


@asynccontextmanager
async def watched(port: int) -> AsyncIterator[tuple[Any, AsyncIterator[int]]]:
    """A channel, and the states of the service as they come."""

    async def states() -> AsyncIterator[int]:
        async for response in health_stub(channel).Watch(HealthCheckRequest(service=RNG)):
            yield response.status

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(20):
        yield channel, states()


async def test_health_tells_alive_from_ready_and_reports_every_change() -> None:
    health = Health("something")
    async with rng_with(health) as port, watched(port) as (channel, states):
        assert await anext(states) == NOT_SERVING
        health.started()
        await asyncio.sleep(0.05)  # nothing changes
        for met in (True, False, True):
            health.set("something", met=met)
            expected = SERVING if met else NOT_SERVING
            assert await anext(states) == expected
            assert (await status(channel, ""), await status(channel, RNG)) == (SERVING, expected)
        health.drain()
        assert await anext(states) == NOT_SERVING


async def test_a_server_whose_self_check_fails_is_alive_but_not_serving_until_it_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_check, "INTERVAL", 0.01)
    failure: Exception | None = None
    sound = True

    async def check() -> bool:
        if failure:
            raise failure
        return sound

    health = Health()
    health.started()
    with capture_logs() as lines:
        async with rng_with(health, check) as port, watched(port) as (channel, states):
            while await anext(states) != SERVING:
                pass
            sound = False
            assert await anext(states) == NOT_SERVING
            assert await status(channel, "") == SERVING
            sound = True
            assert await anext(states) == SERVING
            failure = OSError("no random source")
            assert await anext(states) == NOT_SERVING
    events = [line["event"] for line in lines if "no longer ready" in line["event"] or "again" in line["event"]]
    failed = "self-check failed, no longer ready"
    assert events == [failed, "self-check passed again", failed]


async def test_a_server_notices_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random source that repeats itself, and wrong digests."""
    assert await service.check_source()
    assert await check_digests()
    monkeypatch.setattr("os.urandom", bytes)
    monkeypatch.setattr(fallback, "sha256", hashlib.blake2s)
    assert not await service.check_source()
    assert not await check_digests()


@pytest.mark.parametrize("name", [HASHER, "rng", "grpc.health.v1.Health"])
async def test_health_of_a_service_that_is_none_here_is_not_found(name: str) -> None:
    async with rng() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await status(channel, name)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


VERSIONS = pytest.mark.parametrize("version", ["v1", "v1alpha"])


async def reflected(
    channel: grpc.aio.Channel, version: str, *requests: ServerReflectionRequest
) -> list[ServerReflectionResponse]:
    """What one version answers; the messages of both are alike."""
    untyped: Any = channel  # as above
    method = untyped.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest.SerializeToString,
        ServerReflectionResponse.FromString,
    )
    return [response async for response in method(iter(requests))]


@VERSIONS
async def test_reflection_lists_what_is_served(version: str) -> None:
    async with hasher() as channel:
        [response] = await reflected(channel, version, ServerReflectionRequest(list_services=""))
    assert [service.name for service in response.list_services_response.service] == [
        HASHER,
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


@VERSIONS
async def test_reflection_finds_the_files_of_symbols_and_of_nothing_else(version: str) -> None:
    asked = [ServerReflectionRequest(file_containing_symbol=symbol) for symbol in (*SYMBOLS, *NO_SYMBOLS)]
    async with rng() as channel:
        answers = await reflected(channel, version, *asked)
    assert [answer.original_request for answer in answers] == asked
    found, not_found = answers[: len(SYMBOLS)], answers[len(SYMBOLS) :]
    files = [FileDescriptorProto.FromString(each.file_descriptor_response.file_descriptor_proto[0]) for each in found]
    assert [f"{file.package}.{service.name}" for file in files for service in file.service] == list(SYMBOLS.values())
    assert {each.error_response.error_code for each in not_found} == {grpc.StatusCode.NOT_FOUND.value[0]}


async def test_channelz_counts_the_calls_of_a_server() -> None:
    async with rng() as channel:
        stub: Any = ChannelzStub(channel)  # type: ignore[arg-type] # typed for synchronous channels alone
        servers = stub.GetServers
        before = {each.ref.server_id: each.data.calls_started for each in (await servers(GetServersRequest())).server}
        await status(channel, "")
        after = {each.ref.server_id: each.data.calls_started for each in (await servers(GetServersRequest())).server}
    assert max(count - before.get(server, 0) for server, count in after.items()) >= 1
