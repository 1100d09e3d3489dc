"""A pool against real servers in this process: each batch is completed once, whatever its servers do."""

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from functools import partial

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesResponse
from structlog.testing import capture_logs
from support.fake_streams import response
from support.free_port import free_port
from support.rng_servers import Context, PoolClient, Requests, Responses, RngServer, rng_server
from support.waiting import background, until

from chassis.grpc_server import self_test, server
from chassis.telemetry.rpc_metrics import MethodCounts
from load_test.unary_calls import UnaryCalls
from worker_svc import retry
from worker_svc.batch import Batch
from worker_svc.pool import pool as pool_module
from worker_svc.stage import RNG, RngStage

A_WHILE_S = 0.6


def counts(client: PoolClient) -> MethodCounts:
    return client.metrics.method("bidi_stream", RNG.path)


async def test_each_endpoint_has_one_connection_with_two_streams_that_end_ok_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker_svc.pool.pool.CLOSE_LIMIT_S", 10.0)  # for a busy machine
    ports = [free_port(), free_port(), free_port()]
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(rng_server(f"rng-{port}", port)) for port in ports]
        running = asyncio.all_tasks()
        lines = stack.enter_context(capture_logs())
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
        assert 0 < counts(one).received == counts(one).sent < one.sent, "some messages carry several batches"
        assert not [line for line in lines if "ended early" in line["event"]]
        await until(lambda: not any("server" not in repr(task).lower() for task in asyncio.all_tasks() - running))
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_replica_with_an_ipv4_and_an_ipv6_address_is_one() -> None:
    port = free_port()
    async with rng_server("a", port, bind_address="::"), PoolClient(target=f"localhost:{port}").running() as client:
        await until(lambda: counts(client).started == 4)
        await client.until_completed(100)
        assert [(each.name, len(each.accepting)) for each in client.pool.picker.replicas.listed] == [("a", 4)]


async def test_a_server_that_starts_gets_its_share_and_one_that_stops_is_gone_at_once_with_nothing_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even the last one: it is not kept from stopping."""
    monkeypatch.setattr(server, "DRAIN_LIMIT_S", 20.0)  # far from what a busy machine adds
    ports = [free_port(), free_port()]
    async with PoolClient(*ports).running() as client:
        async with rng_server("stays", ports[0], delay=0.01) as stays:
            await client.until_completed(20)
            async with rng_server("comes", ports[1], delay=0.01) as comes:
                await client.until_found("comes", "stays")
                stays.batches = comes.batches = 0
                await client.until_completed(100)
                assert 0.4 < comes.batches / (stays.batches + comes.batches) < 0.6
                began = time.monotonic()
            assert time.monotonic() - began < 10
            assert client.pool.replicas == ["stays"]
            await client.until_completed(20)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        await asyncio.sleep(A_WHILE_S)
        assert not client.pool.replicas
        async with rng_server("again", ports[0]):
            await client.until_found("again")
            await client.finish()
        assert not client.pool.resent
        assert not client.pool.errors


async def test_a_server_whose_own_check_fails_gets_nothing_until_it_passes_unless_it_is_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_test, "INTERVAL_S", 0.02)
    passing = {"a", "b"}

    async def passes(name: str) -> bool:
        return name in passing

    ports = [free_port(), free_port()]
    async with (
        rng_server("a", ports[0], check=partial(passes, "a"), delay=0.005),
        rng_server("b", ports[1], check=partial(passes, "b"), delay=0.005) as last,
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
        assert not client.pool.resent
        assert not client.pool.errors


async def test_what_a_retry_can_not_mend_is_retried_with_maximum_backoff(capfd: pytest.CaptureFixture[str]) -> None:
    class Refusing(RngServer):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            if self.streams:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
            yield StreamRandomBytesResponse()

    port = free_port()
    async with rng_server("refusing", port, Refusing) as refusing, PoolClient(port).running() as client:
        await asyncio.sleep(1.5)
        assert refusing.streams <= 4
        await until(lambda: client.pool.errors["PERMISSION_DENIED"] == counts(client).handled["PERMISSION_DENIED"] >= 2)
        assert not client.pool.resent, "no batch is sent where none has been answered"
    out = capfd.readouterr().out
    assert out.count("stream refused, retrying with maximum backoff") <= 2
    assert "not you" in out


async def test_of_a_refused_message_only_the_invalid_batch_fails_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are sent again, one in a message, and those that come later complete as well."""
    monkeypatch.setattr(pool_module, "MAX_BACKOFF_S", 0.1)
    messages: list[list[int]] = []

    class Recording(RngServer):
        def serve(self, requests: Requests, context: Context) -> Responses:
            async def recorded() -> Requests:
                async for request in requests:
                    messages.append([batch.batch_id for batch in request.batches])
                    yield request

            return super().serve(recorded(), context)

    port = free_port()
    async with rng_server("a", port, Recording), PoolClient(port, window=0).running() as client:
        await until(lambda: [len(each.accepting) for each in client.pool.picker.replicas.listed] == [2])
        client.pool.resize(32)
        invalid = response(client.pool, Batch(1_000, 0, 32, 0.0))
        valid = [response(client.pool, Batch(number, 4, 32, 0.0)) for number in range(1, 12)]
        await asyncio.gather(*valid)
        later = [response(client.pool, Batch(number, 4, 32, 0.0)) for number in range(20, 30)]
        await asyncio.gather(*later)
        before = client.pool.errors["INVALID_ARGUMENT"]
        await until(lambda: client.pool.errors["INVALID_ARGUMENT"] >= before + 3)
        assert not invalid.done()
        invalid.cancel()
    assert messages[0] == [1_000, *range(1, 12)]
    assert all(each == [1_000] or 1_000 not in each for each in messages[1:])
    assert all(1 <= messages.count([number]) <= 3 for number in range(1, 12))
    assert messages[-3:] == [[1_000]] * 3


@pytest.mark.parametrize(("silent", "limit_s"), [(1, pool_module.SILENCE_LIMIT_S), (2, 0.3)])
async def test_streams_that_stay_silent_are_replaced(
    silent: int, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that its server forgot sooner than both: the server responds on the other."""
    monkeypatch.setattr(retry, "INITIAL_HEDGING_DELAY_S", 0.1)
    monkeypatch.setattr(pool_module, "OVERTAKEN_LIMIT_S", 0.1)
    monkeypatch.setattr(pool_module, "SILENCE_LIMIT_S", limit_s)

    class Silent(RngServer):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            is_silent = self.streams <= silent
            if is_silent and silent > 1:  # it does not even send its name
                await asyncio.Event().wait()
            async for each in super().serve(requests, context):
                if is_silent:
                    await asyncio.Event().wait()
                yield each

    port = free_port()
    async with (
        rng_server("silent", port, Silent) as server,
        PoolClient(port, window=8).running() as client,
    ):
        await until(lambda: client.pool.errors == {"DEADLINE_EXCEEDED": silent})
        await until(lambda: server.open_streams == 2)
        await client.until_completed(50)
        await client.finish()


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
        assert not client.pool.resent


@pytest.mark.parametrize("counting", [False, True])
async def test_a_defect_while_a_response_is_received_or_counted_ends_the_pool(
    monkeypatch: pytest.MonkeyPatch, *, counting: bool
) -> None:
    """Otherwise mining would stop in silence."""
    port = free_port()
    client = PoolClient(port)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    if not counting:
        monkeypatch.setattr(RngStage, "wrong_digest", fail)
    async with rng_server("a", port):
        client.pool.send(Batch(1, 4, 32, 0.0), fail)
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(client.pool.run(), 20)
        assert raised.group_contains(ZeroDivisionError)


async def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
            for variable in (name, name.upper()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        async with rng_server("a", port), PoolClient(port).running() as client:
            await client.until_completed(10)
            calls = UnaryCalls(RNG, f"ipv4:127.0.0.1:{port}", client_id="client")
            async with background(calls.run()):
                await until(lambda: bool(calls.replicas))
                assert len(await response(calls, Batch(1, 4, 32, 0.0))) == 128
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
