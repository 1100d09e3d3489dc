"""Real servers in this process, on free ports of loopback, and what all their tests check."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from chassis.health import Health
from chassis.telemetry import Telemetry
from hasher_svc.__main__ import hasher as hasher_service
from hasher_svc.settings import HasherSettings
from rng_svc.__main__ import rng as rng_service
from rng_svc.settings import RngSettings
from support.free_port import free_port

RNG = "dockercoins.rng.v1.RngService"
HASHER = "dockercoins.hasher.v1.HasherService"

Answer = TypeVar("Answer")


@asynccontextmanager
async def served(name: str, telemetry: Telemetry | None = None, **settings: Any) -> AsyncIterator[int]:
    """The port of rng or hasher, which is at full pace unless settings say otherwise."""
    settings = {"port": free_port(), "pace": "full", "instance": f"{name}-1", **settings}
    telemetry = telemetry or Telemetry(Health())
    serving: AbstractAsyncContextManager[None]
    if name == "rng":
        serving = rng_service(RngSettings(**settings), telemetry)
    else:
        serving = hasher_service(HasherSettings(**settings), telemetry)
    async with serving:
        telemetry.health.started()
        yield settings["port"]


@asynccontextmanager
async def channel_to(name: str, *telemetry: Telemetry, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server like that."""
    async with served(name, *telemetry, **settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


rng = partial(channel_to, "rng")
hasher = partial(channel_to, "hasher")


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
    # The types of a channel lack calls without a serializer.
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
