"""A server that would answer wrongly says that it is not serving."""

import asyncio
import hashlib

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from structlog.testing import capture_logs
from support.served import RNG, served
from support.served import health as health_stub

from chassis.grpc_server import self_check
from hasher_svc import fallback
from hasher_svc.digests import check_digests
from rng_svc import service
from rng_svc.service import RngService
from rng_svc.settings import RngSettings


async def status(channel: grpc.aio.Channel, name: str) -> int:
    response = await health_stub(channel).Check(HealthCheckRequest(service=name))
    assert isinstance(response, HealthCheckResponse)
    return response.status


async def test_a_server_whose_check_fails_is_alive_but_not_serving_until_it_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_check, "INTERVAL", 0.01)
    sound = True

    async def check() -> bool:
        return sound

    settings = RngSettings(port=0)
    add = RngService("rng-1", settings.pacing()).add_to
    async with served(settings, RNG, add, check) as channel:
        await asyncio.sleep(0.05)
        assert await status(channel, RNG) == HealthCheckResponse.SERVING
        with capture_logs() as lines:
            sound = False
            await asyncio.sleep(0.1)
            assert await status(channel, RNG) == HealthCheckResponse.NOT_SERVING
            assert await status(channel, "") == HealthCheckResponse.SERVING
            sound = True
            await asyncio.sleep(0.1)
            assert await status(channel, RNG) == HealthCheckResponse.SERVING
    said = [line["event"] for line in lines if "self-check" in line["event"]]
    assert said == ["self-check failed, no longer ready", "self-check passed again"]


async def test_a_check_that_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> bool:
        raise OSError("no random source")

    settings = RngSettings(port=0)
    add = RngService("rng-1", settings.pacing()).add_to
    async with served(settings, RNG, add, check) as channel:
        await asyncio.sleep(0.05)
        assert await status(channel, RNG) == HealthCheckResponse.NOT_SERVING


async def test_rng_notices_a_source_that_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await service.check_source()
    monkeypatch.setattr("os.urandom", bytes)
    assert not await service.check_source()


async def test_hasher_notices_wrong_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await check_digests()
    monkeypatch.setattr(fallback, "sha256", hashlib.blake2s)
    assert not await check_digests()
