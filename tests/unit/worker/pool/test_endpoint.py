"""How many streams an address has open; its channels and calls are the test's, and time is virtual."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from unittest.mock import AsyncMock

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from support.waiting import background

from chassis.grpc_client import InstrumentedMethod
from chassis.telemetry.rpc_metrics import RpcMetrics
from worker_svc.pool import pool as pool_module
from worker_svc.pool.endpoint import PROBE_ID, STREAMS_PER_ENDPOINT, Endpoint, Stream, StreamBroken
from worker_svc.pool.pool import Pool
from worker_svc.stage import RNG


class FakeCall:
    """A stream whose server names itself at once, and ends it when the client has half-closed it."""

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        self.requests = requests
        self.ended = False

    async def initial_metadata(self) -> dict[str, str]:
        return {"served-by": "rng-1"}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for request in self.requests:
            yield request
        self.ended = True

    def done(self) -> bool:
        return self.ended

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def cancel(self) -> None:
        pass


class FakeChannel:
    """A channel whose connection the test makes bounce, as fast as only the event after it shows."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.calls: list[FakeCall] = []

    def get_state(self, **_: bool) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, _: grpc.ChannelConnectivity) -> None:
        await self.changed.wait()
        self.changed.clear()

    def stream_stream(self, *_: object, **__: object) -> Any:
        def open_call(requests: AsyncIterator[bytes], **_: object) -> FakeCall:
            self.calls.append(FakeCall(requests))
            return self.calls[-1]

        return open_call

    async def close(self) -> None:
        pass


def open_stream() -> tuple[Stream, FakeCall]:
    channel: Any = FakeChannel()
    endpoint = Endpoint("10.0.0.1:50051", channel, None, AsyncMock(), lambda: None, "rng-1")
    method = InstrumentedMethod(RNG.path, RpcMetrics("client"), "client")
    return Stream(endpoint, RNG, method, max_batches=2), channel.calls[0]


async def test_a_connection_that_is_back_before_it_was_seen_to_be_lost_has_as_many_streams_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channels: list[FakeChannel] = []

    def open_channel(*_: object, **__: object) -> FakeChannel:
        channels.append(FakeChannel())
        return channels[-1]

    monkeypatch.setattr(pool_module, "open_channel", open_channel)
    options: Any = {"metrics": RpcMetrics("client"), "on_change": lambda: None}
    pool = Pool(RNG, "ipv4:10.0.0.1:50051", client_id="client", window=4, max_endpoints=64, **options)
    async with background(pool.run()):
        await asyncio.sleep(1)
        for bounces in range(1, 4):
            channels[-1].changed.set()
            await asyncio.sleep(1)
            ended = [call.ended for channel in channels for call in channel.calls]
            assert ended == [True] * bounces * STREAMS_PER_ENDPOINT + [False] * STREAMS_PER_ENDPOINT
    assert all(call.ended for channel in channels for call in channel.calls)


async def test_a_failure_of_the_pool_ends_the_endpoint() -> None:
    async def fail(_: Endpoint) -> None:
        raise ZeroDivisionError

    channel = cast("grpc.aio.Channel", FakeChannel())
    with pytest.raises(ExceptionGroup) as raised:
        await Endpoint("10.0.0.1:50051", channel, None, fail, lambda: None, "rng").run(0)
    assert raised.group_contains(ZeroDivisionError)


async def test_a_stream_that_ends_by_itself_ends_what_waits_for_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_off(call: FakeCall) -> AsyncIterator[bytes]:
        await asyncio.sleep(1)
        call.ended = True
        if not call.ended:
            yield b""

    monkeypatch.setattr(FakeCall, "__aiter__", break_off)
    stream, call = open_stream()
    sending = asyncio.ensure_future(anext(call.requests, b"no more"))
    with pytest.raises(StreamBroken):
        await stream.run(lambda _: None, lambda *_: None)
    assert await asyncio.wait_for(sending, 1) == b"no more"


async def test_a_stream_has_at_most_one_outstanding_probe() -> None:
    stream, call = open_stream()
    stream.probe()
    stream.probe()
    request = StreamRandomBytesRequest.FromString(await anext(call.requests))
    assert [batch.batch_id for batch in request.batches] == [PROBE_ID]


@pytest.mark.parametrize("end", [lambda stream: stream.abort("silent"), Stream.half_close], ids=["abort", "half-close"])
async def test_a_stream_that_is_ended_while_its_task_is_cancelled_does_not_hide_the_cancellation(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[Stream], None]
) -> None:
    monkeypatch.setattr(FakeCall, "initial_metadata", AsyncMock(side_effect=asyncio.Event().wait))
    stream, _ = open_stream()
    running = asyncio.create_task(stream.run(lambda _: None, lambda *_: None))
    await asyncio.sleep(0)
    end(stream)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
