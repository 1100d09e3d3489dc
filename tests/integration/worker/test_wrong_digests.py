import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
from dockercoins.hasher.v1.hasher_service_pb2_grpc import add_HasherServiceServicer_to_server
from structlog.testing import capture_logs
from support.free_port import free_port
from support.redis_server import RedisServer
from support.rng_servers import rng_server
from support.waiting import until

from chassis.grpc_server import server
from chassis.health import Health
from chassis.settings import Pace
from chassis.telemetry import Telemetry
from hasher_svc.hashing import HASHLIB, DigestThread, known_answer_test
from hasher_svc.service import SERVICE, HasherService, describe
from hasher_svc.settings import HasherSettings
from worker_svc import worker as worker_service
from worker_svc.pool import pool
from worker_svc.settings import WorkerSettings
from worker_svc.worker import worker

Lie = Callable[[bytes], bytes]

# Messages per batch.
COUNT = 64


def no_lie(digests: bytes) -> bytes:
    return digests


def one_false_coin(digests: bytes) -> bytes:
    return digests[:-32] + bytes(32)


def one_flipped_bit(digests: bytes) -> bytes:
    """Whether it is a coin stays as it was."""
    return digests[:-1] + bytes((digests[-1] ^ 1,))


class Hasher(HasherService):
    """The real service, with what a lie makes of its digests."""

    def __init__(self, settings: HasherSettings, thread: DigestThread, telemetry: Telemetry, lie: Lie) -> None:
        super().__init__(settings.instance, thread, telemetry.metrics)
        self.lie = lie
        self.answered: set[int] = set()

    @property
    def last(self) -> int:
        return max(self.answered, default=0)

    async def StreamHashes(  # noqa: N802 - named as in protos/
        self, request_iterator: AsyncIterator[StreamHashesRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[StreamHashesResponse]:
        async for response in super().StreamHashes(request_iterator, context):
            for batch in response.batches:
                self.answered.add(batch.batch_id)
                batch.digests = self.lie(batch.digests)
            yield response


@asynccontextmanager
async def hasher(name: str, port: int, lie: Lie = no_lie) -> AsyncIterator[Hasher]:
    settings = HasherSettings(pace=Pace.FULL, instance=name, port=port, delay=0.002)
    health = Health()
    health.started()
    with closing(DigestThread(HASHLIB)) as thread:
        telemetry = Telemetry(health)
        servicer = Hasher(settings, thread, telemetry, lie)
        add_servicer = partial(add_HasherServiceServicer_to_server, servicer)
        test = partial(known_answer_test, HASHLIB)
        serving = server.serve(settings, telemetry, SERVICE, add_servicer, test, describe=describe, callers={})
        async with serving:
            yield servicer


def metric(telemetry: Telemetry, name: str, **labels: str) -> float:
    return telemetry.metrics.get_sample_value(f"dockercoins_worker_{name}", labels) or 0.0


@asynccontextmanager
async def mining(redis: RedisServer, hashers: list[int]) -> AsyncIterator[Telemetry]:
    """A worker and its rng; at the end everything is reported, and Redis holds what was counted."""
    rng = free_port()
    settings = WorkerSettings(
        pace=Pace.FULL,
        batch_size=COUNT,
        window_size=8,
        message_size=48,
        difficulty_bits=5,
        stop_limit=10.0,
        instance="worker",
        redis_url=redis.url,
        rng_target=f"ipv4:127.0.0.1:{rng}",
        hasher_target="ipv4:" + ",".join(f"127.0.0.1:{port}" for port in hashers),
    )
    telemetry = Telemetry(Health("rng", "hasher", "redis"))
    telemetry.health.started()
    async with rng_server("rng", rng):
        async with worker(settings, telemetry):
            yield telemetry
        assert redis.hashes == metric(telemetry, "hashes_total") == COUNT * metric(telemetry, "batches_total")
        assert int(redis.client().get("coins")) == metric(telemetry, "coins_total")
        wallet = redis.wallet()
        assert wallet
        assert all(len(message) == 48 and int(digest, 16) < 1 << 251 for digest, message in wallet.items())


@pytest.mark.parametrize("lie", [one_false_coin, one_flipped_bit])
async def test_a_hasher_that_answers_wrongly_gets_no_more_batches_until_it_is_restarted(
    lie: Lie, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ABSENCE_LIMIT_S", 0.5)
    # What stops does not wait for what is left without a response.
    monkeypatch.setattr(server, "DRAIN_LIMIT_S", 0.2)
    monkeypatch.setattr(worker_service, "DRAIN_LIMIT_S", 0.2)
    ports = [free_port(), free_port()]
    async with AsyncExitStack() as later, mining(redis, ports) as telemetry:
        lines: list[Any] = later.enter_context(capture_logs())
        async with hasher("good", ports[0]) as good, hasher("lying", ports[1], lie) as lying:
            await until(lambda: metric(telemetry, "retries_total", service="hasher", reason="wrong_digest") > 0)
            last = lying.last
            await until(lambda: good.last > last + 500)
            await asyncio.sleep(1.2)
            # What was on its way to it when it was found out.
            assert lying.last <= last + 8
            assert metric(telemetry, "endpoints", service="hasher", state="ejected") == 1
            assert telemetry.health.unmet == []
            if lie is one_false_coin:  # which is found at once
                assert metric(telemetry, "batches_total") <= len(good.answered)
            assert [line["replica"] for line in lines if line["event"] == "wrong digest, replica ejected"] == ["lying"]
            good.lie = lie
            await until(lambda: telemetry.health.unmet == ["hasher"])
            counted = metric(telemetry, "hashes_total")
            lying.lie = good.lie = no_lie  # no matter, since they are the same processes
            reason = "good lying: wrong digests, not used until restarted"
            await until(lambda: any(line.get("details") == reason for line in lines))
            assert metric(telemetry, "hashes_total") == counted
        await asyncio.sleep(0.5)  # as long as a process takes to start
        await later.enter_async_context(hasher("good", ports[0]))
        await until(lambda: metric(telemetry, "hashes_total") > counted + 100 * COUNT)
        assert metric(telemetry, "endpoints", service="hasher", state="ejected") == 0
