"""Real servers in this process, on free ports of loopback, and what tests of all of them ask."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from chassis.grpc_server import server
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry
from hasher_svc.hashing import DigestThread, fastest, self_test
from hasher_svc.service import HasherService
from hasher_svc.settings import HasherSettings
from rng_svc.service import RngService, check_source
from rng_svc.settings import RngSettings

RNG = "dockercoins.rng.v1.RngService"
HASHER = "dockercoins.hasher.v1.HasherService"

Answer = TypeVar("Answer")
Check = Callable[[], Awaitable[bool]]


@asynccontextmanager
async def _served(
    settings: GrpcServerSettings,
    service: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    check: Check,
    telemetry: Telemetry | None,
) -> AsyncIterator[grpc.aio.Channel]:
    telemetry = telemetry or Telemetry(Health())
    async with server.serve(settings, telemetry, service, add_servicer, check) as port:
        telemetry.health.started()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel


@asynccontextmanager
async def rng(
    telemetry: Telemetry | None = None, check: Check = check_source, **settings: Any
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to rng, at full pace unless told otherwise."""
    made = RngSettings(**{"port": 0, "pace": "full", "instance": "rng-1", **settings})
    servicer = RngService(made.instance, made.pacing())
    async with _served(made, RNG, servicer.add_to, check, telemetry) as channel:
        yield channel


@asynccontextmanager
async def hasher(telemetry: Telemetry | None = None, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to hasher, at full pace unless told otherwise."""
    made = HasherSettings(**{"port": 0, "pace": "full", "instance": "hasher-1", **settings})
    with closing(DigestThread(fastest())) as thread:
        servicer = HasherService(made.instance, made.pacing(), thread)
        async with _served(made, HASHER, servicer.add_to, self_test, telemetry) as channel:
            yield channel


def violation(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """The field that a refused request is blamed for, and what is said of it; fails unless it was refused as such."""
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # typed for calls alone
    assert status is not None
    [detail] = status.details
    bad_request = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)
    [found] = bad_request.field_violations
    assert error.details() == status.message == found.description
    return found.field, found.description


def health(channel: Any) -> Any:
    """The stub of a channel's server's health, whose types lack its methods."""
    return HealthStub(channel)


def raw_stream(
    channel: Any, method: str, *requests: bytes, metadata: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[bytes]:
    """The answers to these bytes, sent as they are, to a method that takes one request or many."""
    # The types of a channel know no call without a serializer.
    answers: AsyncIterator[bytes] = channel.stream_stream(method)(iter(requests), metadata=metadata)
    return answers


async def until_failure(stream: AsyncIterable[Answer]) -> tuple[list[Answer], grpc.aio.AioRpcError]:
    """What a stream answered before it failed, and its failure."""
    answered = []
    try:
        async for answer in stream:
            answered.append(answer)  # noqa: PERF401 - a comprehension would lose what came before the failure
    except grpc.aio.AioRpcError as error:
        return answered, error
    pytest.fail("the stream ended well")
