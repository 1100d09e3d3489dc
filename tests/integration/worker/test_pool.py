"""A pool against real servers in this process: each batch is completed once, whatever its servers do."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from support.free_port import free_port
from support.rng_servers import Context, PoolClient, Requests, Responses, RngServer, rng_server
from support.waiting import until

from chassis.grpc_server import self_check, server
from chassis.telemetry.rpc_metrics import MethodCounts
from rng_svc.service import SERVICE, RandomBatch
from rng_svc.settings import RngSettings
from worker_svc.batch import Batch
from worker_svc.load_test.unary_calls import UnaryCalls
from worker_svc.pool import pool as pool_module
from worker_svc.stage import RNG

A_WHILE_S = 0.6


def counts(client: PoolClient) -> MethodCounts:
    return client.metrics.method("bidi_stream", RNG.path)


async def test_each_endpoint_has_one_connection_with_two_streams_that_end_ok_and_nothing_is_left() -> None:
    ports = [free_port(), free_port(), free_port()]
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(rng_server(f"rng-{port}", port)) for port in ports]
        running = asyncio.all_tasks()
        async with PoolClient(*ports).running() as one, PoolClient(*ports).running() as other:
            for client in (one, other):
                await client.until_found(*(f"rng-{port}" for port in ports))
                await client.until_completed(100)
            await until(lambda: all(each.open_streams == 4 for each in servers))
            # No two channels share a connection, whether of one pool or of two.
            assert [len(each.peers) for each in servers] == [2, 2, 2]
            await one.finish()
            await other.finish()
        await until(lambda: counts(one).handled.total() == counts(one).started)
        assert {code: calls for code, calls in counts(one).handled.items() if calls} == {"OK": 6}
        assert counts(one).sent == counts(one).received == one.sent
        await until(lambda: not any("server" not in repr(task).lower() for task in asyncio.all_tasks() - running))
    await until(lambda: asyncio.all_tasks() == before)


async def test_one_batch_in_flight_goes_to_the_replicas_in_turn() -> None:
    """So ten classic workers keep two serial rngs equally busy."""
    ports = [free_port(), free_port()]
    async with (
        rng_server("a", ports[0]) as one,
        rng_server("b", ports[1]) as other,
        PoolClient(*ports, window=1).running() as client,
    ):
        await client.until_found("a", "b")
        del one.batches[:], other.batches[:]
        await client.until_completed(100)
        assert abs(len(one.batches) - len(other.batches)) <= 1


async def test_a_replica_with_an_ipv4_and_an_ipv6_address_is_one() -> None:
    port = free_port()
    async with rng_server("a", port, bind_address="::"), PoolClient(target=f"localhost:{port}").running() as client:
        await until(lambda: counts(client).started == 4)
        await client.until_completed(100)
        assert [(each.name, len(each.accepting)) for each in client.pool.listed] == [("a", 4)]


async def test_a_server_that_starts_gets_its_share_and_one_that_stops_is_gone_at_once_with_nothing_retried() -> None:
    ports = [free_port(), free_port()]
    loop = asyncio.get_running_loop()
    async with (
        AsyncExitStack() as later,
        rng_server("stays", ports[0], delay=0.01) as stays,
        PoolClient(*ports).running() as client,
    ):
        await client.until_completed(20)
        comes = await later.enter_async_context(rng_server("comes", ports[1], delay=0.01))
        await client.until_found("comes", "stays")
        del stays.batches[:], comes.batches[:]
        await client.until_completed(100)
        assert 0.4 < len(comes.batches) / (len(stays.batches) + len(comes.batches)) < 0.6
        began = loop.time()
        await later.aclose()
        assert loop.time() - began < server.DRAIN_LIMIT / 2
        assert client.pool.replicas == ["stays"]
        await client.until_completed(20)
        await client.finish()
        assert not client.pool.sent_again
        assert not client.pool.errors


async def test_a_server_whose_own_check_fails_gets_nothing_until_it_passes_unless_it_is_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_check, "INTERVAL", 0.02)
    passing = {"a", "b"}

    def check(name: str) -> Any:
        async def passes() -> bool:
            return name in passing

        return passes

    ports = [free_port(), free_port()]
    async with (
        rng_server("a", ports[0], check=check("a"), delay=0.005),
        rng_server("b", ports[1], check=check("b"), delay=0.005) as last,
        PoolClient(*ports).running() as client,
    ):
        await client.until_found("a", "b")
        passing.remove("a")
        await client.until_found("b")
        passing.remove("b")
        await asyncio.sleep(A_WHILE_S)
        await client.until_completed(50)
        assert client.pool.replicas == ["b"]
        passing.update("ab")
        await client.until_found("a", "b")
        await until(lambda: last.open_streams == 2)
        await client.finish()
        assert not client.pool.sent_again
        assert not client.pool.errors


async def test_the_last_server_that_stops_is_not_kept_from_it() -> None:
    port = free_port()
    loop = asyncio.get_running_loop()
    async with PoolClient(port).running() as client:
        async with rng_server("a", port, delay=0.01):
            await client.until_completed(20)
            began = loop.time()
        assert loop.time() - began < server.DRAIN_LIMIT / 2
        assert not client.pool.errors
        await asyncio.sleep(A_WHILE_S)
        assert not client.pool.replicas
        async with rng_server("b", port):
            await client.until_found("b")
            await client.finish()


class Breaking(RngServer):
    """Completes one batch of three and breaks the stream."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            yield response
            await anext(requests, None)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "broken by the test")


class Lying(RngServer):
    """Responds with what `lie` makes of the true response."""

    lie: Callable[[RandomBatch], RandomBatch]

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            yield self.lie(response)


class TooShort(Lying):
    def lie(self, response: RandomBatch) -> RandomBatch:
        return response._replace(data=response.data[1:])


class ToNoBatch(Lying):
    def lie(self, response: RandomBatch) -> RandomBatch:
        return response._replace(batch_id=response.batch_id + 1_000_000)


class Garbling(RngServer):
    """Responds with what is no message."""

    def add_to(self, server: grpc.aio.Server) -> None:
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self.StreamRandomBytes, StreamRandomBytesRequest.FromString, lambda _: b"\xff"
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {RNG.method: handler}),))


class Boasting(RngServer):
    """Its name would be in every line, metric and report."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        await server.name_server(context, "x" * 5_000)
        async for request in requests:
            yield RandomBatch(request.batch_id, bytes(request.count * request.size))


@pytest.mark.parametrize(
    ("kind", "code", "ended_as"),
    [
        (Breaking, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
        (TooShort, "INTERNAL", "CANCELLED"),
        (ToNoBatch, "INTERNAL", "CANCELLED"),
        (Garbling, "INTERNAL", "CANCELLED"),
        (Boasting, "INTERNAL", "CANCELLED"),
    ],
)
async def test_what_is_outstanding_on_a_broken_stream_is_retried(
    kind: type[RngServer], code: str, ended_as: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ports = [free_port(), free_port()]
    async with (
        rng_server("good", ports[0]),
        rng_server("bad", ports[1], kind) as bad,
        PoolClient(*ports, window=8).running() as client,
    ):
        await until(lambda: bad.streams > 2)
        await client.until_completed(100)
        await client.finish()
        assert {code} <= set(client.pool.errors) <= {code, "INTERNAL"}  # a write may fail first
        assert counts(client).handled[ended_as] > 1
        assert bool(client.pool.retries["broken"]) is (kind is not Boasting)
    assert "stream broken" in capfd.readouterr().out


async def test_a_retry_goes_elsewhere_first() -> None:
    """A batch that breaks every server that gets it would otherwise meet the same one again and again."""
    ports = [free_port(), free_port()]

    class Allergic(RngServer):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            async for response in super().serve(requests, context):
                if response.batch_id % 10 == 0:
                    await context.abort(code=grpc.StatusCode.UNAVAILABLE)
                yield response

    async with (
        rng_server("good", ports[0], delay=0.005),
        rng_server("allergic", ports[1], Allergic) as allergic,
        PoolClient(*ports).running() as client,
    ):
        await client.until_completed(300)
        await client.finish()
        tenth = [batch_id for batch_id in allergic.batches if batch_id % 10 == 0]
        assert 0 < len(tenth) == len(set(tenth))


async def test_what_a_retry_can_not_mend_is_retried_with_maximum_backoff(capfd: pytest.CaptureFixture[str]) -> None:
    class Refusing(RngServer):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            if self.streams:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
            yield RandomBatch(0, b"")

    port = free_port()
    async with rng_server("refusing", port, Refusing) as refusing, PoolClient(port).running():
        await asyncio.sleep(1.5)
        assert refusing.streams <= 4
    out = capfd.readouterr().out
    assert out.count("stream refused, retrying with maximum backoff") <= 2
    assert "not you" in out


class Stalling(RngServer):
    """Responds at once until it is told to stall; then not until it is told to go on. Its bytes are all alike."""

    def __init__(self, settings: RngSettings) -> None:
        super().__init__(settings)
        self.going = asyncio.Event()
        self.going.set()

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            await self.going.wait()
            yield RandomBatch(response.batch_id, bytes(len(response.data)))


async def test_batches_of_a_replica_that_stalls_are_hedged_and_its_late_responses_change_nothing() -> None:
    """The random bytes of a batch may be on their way to a hasher by then."""
    ports = [free_port(), free_port()]
    async with (
        rng_server("good", ports[0], delay=0.01) as good,
        rng_server("stalling", ports[1], Stalling) as stalling,
        PoolClient(*ports).running() as client,
    ):
        assert isinstance(stalling, Stalling)
        await client.until_completed(200)
        stalling.going.clear()
        await until(lambda: len(set(stalling.batches) & set(good.batches)) == 2)
        # It holds no more than its part of the window.
        await client.until_completed(50)
        twice = set(stalling.batches) & set(good.batches)
        assert twice <= set(client.responses)
        stalling.going.set()
        before = len(stalling.batches)
        await until(lambda: len(stalling.batches) > before + 10)
        await client.finish()
        assert all(any(client.data[batch_id]) for batch_id in twice)
        assert client.pool.hedges == len(set(stalling.batches) & set(good.batches))


async def test_a_stream_that_its_server_forgets_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the server responds on its other stream; the hedging budget alone would not get all batches done."""
    monkeypatch.setattr(pool_module, "FIRST_SLOW_S", 0.1)
    monkeypatch.setattr(pool_module, "OVERTAKEN_LIMIT_S", 0.1)

    class Forgetful(RngServer):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            forgets = self.streams == 1
            async for response in super().serve(requests, context):
                if forgets:
                    await asyncio.Event().wait()
                yield response

    port = free_port()
    async with (
        rng_server("forgetful", port, Forgetful) as forgetful,
        PoolClient(port, window=8).running() as client,
    ):
        await until(lambda: client.pool.errors["DEADLINE_EXCEEDED"] == 1)
        await until(lambda: forgetful.open_streams == 2)
        await client.until_completed(50)
        await client.finish()


async def test_a_server_that_accepts_streams_and_is_silent_for_long_gets_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "SILENCE_LIMIT_S", 0.3)

    class Mute(RngServer):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            if self.streams <= 2:
                await asyncio.Event().wait()
            async for response in super().serve(requests, context):
                yield response

    port = free_port()
    async with rng_server("mute", port, Mute), PoolClient(port).running() as client:
        await client.until_completed(20)
        await client.finish()
        assert client.pool.errors == {"DEADLINE_EXCEEDED": 2}


async def test_a_subset_of_many_addresses_is_used_and_changes() -> None:
    ports = [free_port(), free_port(), free_port()]
    async with AsyncExitStack() as stack:
        for port in ports:
            await stack.enter_async_context(rng_server(str(port), port))
        client = await stack.enter_async_context(PoolClient(*ports, max_endpoints=2).running())
        await until(lambda: len(client.pool.replicas) == 2)
        first = client.pool.replicas
        client.pool._exchange_at = 0.0
        await until(lambda: len(client.pool.replicas) == 2 and client.pool.replicas != first)
        await client.finish()
        assert not client.pool.sent_again


async def test_a_defect_of_what_takes_the_batches_ends_the_pool() -> None:
    """Otherwise mining would stop in silence."""
    port = free_port()
    client = PoolClient(port)

    def fail(_: Batch) -> None:
        raise ZeroDivisionError

    client.pool.on_answer = fail
    async with rng_server("a", port):
        client.pool.submit(Batch(1, 4, 32, 0.0))
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(client.pool.run(), 20)
        assert raised.group_contains(ZeroDivisionError)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener that every variable names as the proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        for variable in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
            for name in (variable, variable.upper()):
                monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield listener


async def test_no_proxy_is_used(proxy: socket.socket) -> None:
    port = free_port()
    async with rng_server("a", port), PoolClient(port).running() as client:
        await client.until_completed(10)
        calls = UnaryCalls(RNG, f"ipv4:127.0.0.1:{port}", client_id="client")
        responded = asyncio.Event()
        calls.on_answer = lambda _: responded.set()
        calls.submit(Batch(1, 4, 32, 0.0))
        running = asyncio.create_task(calls.run())
        await responded.wait()
        running.cancel()
    with pytest.raises(BlockingIOError), contextlib.closing(proxy.accept()[0]):
        pass
