"""How many streams an endpoint has open; its channel and calls are the test's."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from worker_svc.pool import endpoint as endpoint_module
from worker_svc.pool.endpoint import STREAMS_PER_ENDPOINT, Endpoint, Stream
from worker_svc.stage import RNG


class FakeCall:
    """A stream whose server names itself at once, and ends it when the client has half-closed it."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def initial_metadata(self) -> dict[str, str]:
        return {"served-by": "rng-1"}

    async def done_writing(self) -> None:
        self.done.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self.done.wait()
        if not self.done.is_set():
            yield b""

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def cancel(self) -> None:
        self.done.set()


class FakeChannel:
    """A channel whose connection the test makes bounce, as fast as only the event after it shows."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.state = grpc.ChannelConnectivity.READY

    def get_state(self, **_: bool) -> grpc.ChannelConnectivity:
        return self.state

    async def wait_for_state_change(self, _: grpc.ChannelConnectivity) -> None:
        await self.changed.wait()
        self.changed.clear()

    async def close(self) -> None:
        pass


class FakePool:
    """What an endpoint and its streams see of a pool, which drains all that leaves."""

    stage = RNG
    certificates = authority = None

    def __init__(self) -> None:
        self.open: set[Stream] = set()
        self.endpoint: Endpoint | None = None

    def open_call(self, _: object) -> tuple[int, Any]:
        return 1, FakeCall()

    def joined(self, stream: Stream) -> None:
        self.open.add(stream)

    def ended(self, stream: Stream, broken: Exception | None) -> None:
        assert broken is None
        self.open.discard(stream)

    def changed(self) -> None:
        for stream in self.open:
            if stream.leaving:
                stream.half_close()


async def test_a_connection_that_is_back_before_it_was_seen_to_be_lost_has_as_many_streams_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel, pool = FakeChannel(), FakePool()
    monkeypatch.setattr(endpoint_module, "open_channel", lambda *_, **__: channel)
    endpoint = Endpoint("ipv4:10.0.0.1:50051", cast("Any", pool))
    running = asyncio.create_task(endpoint.run())
    await asyncio.sleep(1)
    first = set(pool.open)
    for _ in range(3):
        channel.changed.set()
        await asyncio.sleep(1)
    assert len(pool.open) == len(first) == STREAMS_PER_ENDPOINT
    assert not first & pool.open
    endpoint.retire()
    await running
    assert pool.open == set()


async def test_a_failure_of_the_pool_ends_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SimpleNamespace(stage=RNG, certificates=None, authority=None, changed=lambda: None)
    monkeypatch.setattr(endpoint_module, "open_channel", lambda *_, **__: FakeChannel())

    def open_call(_: object) -> None:
        raise ZeroDivisionError

    pool.open_call = open_call
    with pytest.raises(ExceptionGroup) as raised:
        await Endpoint("ipv4:10.0.0.1:50051", cast("Any", pool)).run()
    assert raised.group_contains(ZeroDivisionError)
