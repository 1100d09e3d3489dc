"""A pool of streams against real servers in this process."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from support.free_port import free_port
from system.worker.pool_system import Backend, Client, Context, Requests, Responses, backend

from chassis import grpc_options
from chassis.grpc_server import self_check, server
from rng_svc.service import SERVICE, RandomBatch
from worker_svc import rotation
from worker_svc.batch import Batch
from worker_svc.step import RANDOM

pytestmark = pytest.mark.pair(reason="what is late is so by tenths of a second")


async def test_every_batch_is_answered_once_while_streams_come_and_go() -> None:
    port = free_port()
    async with backend("a", port) as server, Client([port]).running() as client:
        await client.until(lambda: server.streams >= 8, limit=8)
        await client.answered_once()


async def test_a_new_channel_uses_the_connections_there_are() -> None:
    port = free_port()
    async with backend("a", port) as server, Client([port], generation=0.5).running() as client:
        await client.until(lambda: server.streams >= 8, limit=8)
        assert len(server.peers) == 1


async def test_there_are_two_streams_a_backend() -> None:
    ports = [free_port(), free_port(), free_port()]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(backend(f"b{port}", port)) for port in ports]
        client = await stack.enter_async_context(Client(ports, generation=60).running())
        await client.until(lambda: client.pool.backends == sorted(f"b{port}" for port in ports))
        assert [server.open_streams for server in servers] == [2, 2, 2]


async def test_streams_are_no_more_than_allowed() -> None:
    ports = [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(backend(f"b{port}", port)) for port in ports]
        client = await stack.enter_async_context(Client(ports, generation=60, streams=3).running())
        await client.until(lambda: len(client.answers) > 100)
        assert sum(server.streams for server in servers) == 3


async def test_one_batch_in_flight_goes_to_the_backends_in_turn() -> None:
    """So ten classic workers keep two serial rngs equally busy."""
    ports = [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(backend(f"b{port}", port)) for port in ports]
        client = await stack.enter_async_context(Client(ports, window=1, generation=60).running())
        await client.until(lambda: len(client.pool.backends) == 2 and one.open_streams + two.open_streams == 4)
        del one.batches[:], two.batches[:]
        await client.until(lambda: len(one.batches) + len(two.batches) >= 100)
        assert abs(len(one.batches) - len(two.batches)) <= 1


async def test_a_slow_backend_gets_less() -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("slow", ports[0], delay=0.1) as slow,
        backend("fast", ports[1], delay=0.01) as fast,
        Client(ports, window=8, generation=60).running() as client,
    ):
        await client.until(lambda: len(client.answers) > 150, limit=10)
        assert len(fast.batches) > 3 * len(slow.batches) > 0


async def test_a_backend_that_appears_gets_its_share() -> None:
    ports = [free_port(), free_port()]
    async with backend("old", ports[0], delay=0.01) as old, Client(ports, generation=1.0).running() as client:
        await client.until(lambda: len(client.answers) > 20)
        async with backend("new", ports[1], delay=0.01) as new:
            await client.until(lambda: client.pool.backends == ["new", "old"], limit=4)
            del old.batches[:], new.batches[:]
            await client.until(lambda: len(old.batches) + len(new.batches) > 100)
            assert 0.4 < len(new.batches) / (len(old.batches) + len(new.batches)) < 0.6
            await client.answered_once()


async def test_a_server_that_stops_politely_breaks_no_stream(capfd: pytest.CaptureFixture[str]) -> None:
    ports = [free_port(), free_port()]
    async with backend("stays", ports[0], delay=0.01), Client(ports, generation=1.0).running() as client:
        async with backend("goes", ports[1], delay=0.01) as goes:
            await client.until(lambda: goes.open_streams == 2)
        assert client.pool.backends == ["stays"]
        await client.answered_once()
    assert "stream broken" not in capfd.readouterr().out


async def test_a_server_whose_own_check_fails_gets_no_new_streams_until_it_passes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(self_check, "INTERVAL", 0.05)
    passes = True

    async def check() -> bool:
        return passes

    ports = [free_port(), free_port()]
    async with (
        backend("sound", ports[0], delay=0.01),
        backend("unsound", ports[1], check=check, delay=0.01) as unsound,
        Client(ports).running() as client,
    ):
        await client.until(lambda: client.pool.backends == ["sound", "unsound"])
        passes = False
        await client.until(lambda: unsound.open_streams == 0 and client.pool.backends == ["sound"])
        opened = unsound.streams
        await asyncio.sleep(1)
        assert unsound.streams == opened
        passes = True
        await client.until(lambda: client.pool.backends == ["sound", "unsound"])
        await client.answered_once()
    assert "stream broken" not in capfd.readouterr().out


async def test_batches_wait_for_a_server_that_is_not_up_yet() -> None:
    port = free_port()
    async with Client([port]).running() as client:
        await asyncio.sleep(0.5)
        assert not client.answers
        async with backend("late", port):
            await client.until(lambda: len(client.answers) > 10)
            await client.answered_once()


class Breaking(Backend):
    """Takes three batches, answers one, and breaks the stream."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            yield response
            await anext(requests, None)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken by the test")


async def test_what_a_broken_stream_owes_is_asked_again(capfd: pytest.CaptureFixture[str]) -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("good", ports[0]),
        backend("breaking", ports[1], Breaking) as breaking,
        Client(ports, window=8, generation=60).running() as client,
    ):
        await client.until(lambda: breaking.streams > 2 and len(client.answers) > 100)
        await client.answered_once()
    assert "stream broken" in capfd.readouterr().out


class Forgetful(Backend):
    """Answers nothing on the first of its streams, and keeps it open."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        forgets = self.streams == 1
        async for response in super().serve(requests, context):
            if forgets:
                await asyncio.Event().wait()
            yield response


async def test_a_stream_that_never_answers_what_it_owes_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where there is nobody else to ask, the same backend is asked again."""
    monkeypatch.setattr(rotation, "DRAIN_LIMIT", 0.3)
    port = free_port()
    async with backend("forgetful", port, Forgetful) as forgetful, Client([port]).running() as client:
        await client.until(lambda: len(forgetful.batches) > len(set(forgetful.batches)))
        await client.answered_once()
        assert client.pool.asked_again > 0
    assert "streams given up, no answer" in capfd.readouterr().out


class Refusing(Backend):
    async def serve(self, requests: Requests, context: Context) -> Responses:
        if self.streams:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
        yield RandomBatch(0, b"")


async def test_what_a_retry_cannot_mend_is_retried_seldom_and_said(capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    async with backend("refusing", port, Refusing) as refusing, Client([port], generation=60).running():
        await asyncio.sleep(1.5)
        assert refusing.streams <= 4
    out = capfd.readouterr().out
    assert "PERMISSION_DENIED" in out
    assert "not you" in out


class Lying(Backend):
    """Answers with what `lie` makes of the true response."""

    lie: Callable[[RandomBatch], RandomBatch]

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            yield self.lie(response)


class TooShort(Lying):
    def lie(self, response: RandomBatch) -> RandomBatch:
        return response._replace(data=response.data[1:])


class OfNoBatch(Lying):
    def lie(self, response: RandomBatch) -> RandomBatch:
        return response._replace(batch_id=response.batch_id + 1_000_000)


class Garbling(Backend):
    """Answers with what is no message."""

    def add_to(self, server: grpc.aio.Server) -> None:
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self.StreamRandomBytes, StreamRandomBytesRequest.FromString, lambda _: b"\xff"
        )
        handlers = {RANDOM.method: handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@pytest.mark.parametrize("kind", [TooShort, OfNoBatch, Garbling])
async def test_a_wrong_answer_is_not_taken(kind: type[Backend]) -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("good", ports[0]),
        backend("lying", ports[1], kind) as lying,
        Client(ports, window=8, generation=60).running() as client,
    ):
        await client.until(lambda: lying.streams > 2 and len(client.answers) > 100)
        await client.answered_once()


class Boasting(Backend):
    """Its name would be in every line, metric and report."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        await server.name_server(context, "x" * 5_000)
        async for request in requests:
            yield RandomBatch(request.batch_id, bytes(request.count * request.size))


async def test_a_backend_with_a_name_beyond_the_bound_gets_no_batches() -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("good", ports[0]),
        backend("boasting", ports[1], Boasting) as boasting,
        Client(ports, window=8, generation=60).running() as client,
    ):
        await client.until(lambda: boasting.streams > 0 and len(client.answers) > 100)
        assert client.pool.backends == ["good"]
        assert boasting.batches == []
        await client.answered_once()


class Frozen(Backend):
    async def serve(self, requests: Requests, context: Context) -> Responses:
        await server.name_server(context, "frozen")
        async for _ in requests:
            await asyncio.sleep(3600)
        yield RandomBatch(0, b"")


async def test_a_backend_that_does_not_answer_holds_no_more_than_a_part_of_the_window() -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("good", ports[0]),
        backend("frozen", ports[1], Frozen),
        Client(ports, window=8, generation=60).running() as client,
    ):
        await client.until(lambda: client.pool.backends == ["frozen", "good"])
        before = len(client.answers)
        await client.until(lambda: len(client.answers) > before + 500)


class Mute(Backend):
    """Takes streams and never says a word, as a frozen process whose connections are still open."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        await asyncio.sleep(3600)
        yield RandomBatch(0, b"")


async def test_backends_beside_a_frozen_one_are_all_found() -> None:
    """Whatever the order in which round robin comes to them."""
    ports = [free_port(), free_port(), free_port()]
    async with (
        backend("a", ports[0]),
        backend("b", ports[1]),
        backend("mute", ports[2], Mute),
    ):
        for _ in range(3):
            async with Client(ports, generation=60).running() as client:
                await client.until(lambda: client.pool.backends == ["a", "b"])
                await client.answered_once()


async def test_nothing_is_left_behind() -> None:
    port = free_port()
    before = asyncio.all_tasks()
    async with backend("a", port):
        running = asyncio.all_tasks()
        async with Client([port], generation=0.5).running() as client:
            await client.until(lambda: len(client.answers) > 100)
            await asyncio.sleep(1.2)
            assert len(client.pool._rotation._generations) <= 2
        await asyncio.sleep(0.05)
        left = {task for task in asyncio.all_tasks() - running if "server" not in repr(task).lower()}
        assert not left
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_a_pool_knows_its_backends_again_as_soon_as_a_broken_stream_is_back() -> None:
    port = free_port()
    async with Client([port], generation=60).running() as client:
        async with backend("a", port):
            await client.until(lambda: client.pool.backends == ["a"])
        await client.until(lambda: client.pool.backends == [])
        client.known.clear()
        async with backend("b", port):
            await client.until(lambda: client.known[-1:] == [["b"]])
            await client.answered_once()


async def test_a_defect_of_whoever_takes_the_answers_ends_the_pool() -> None:
    """Rather than that mining stops in silence."""
    port = free_port()
    client = Client([port], generation=60)

    def fail(_: Batch) -> None:
        raise ZeroDivisionError

    client.pool.on_answer = fail
    async with backend("a", port):
        client.pool.submit(Batch(1, 4, 32, 0.0))
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(client.pool.run(), 5)
        assert raised.group_contains(ZeroDivisionError)
        await client.pool.close(0.5)


def test_channels_of_one_service_have_equal_arguments() -> None:
    """Only then do they share connections."""
    assert grpc_options.client("a.B") == grpc_options.client("a.B")
