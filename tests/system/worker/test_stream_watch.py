"""The metrics of a worker's streams: how they end, and how many messages went over them."""

import asyncio
from collections.abc import Mapping

import grpc
from support.free_port import free_port
from system.worker.pool_system import Backend, Client, Context, Requests, Responses, backend

from chassis.grpc_server import server
from chassis.telemetry.rpc_metrics import MethodCounts
from rng_svc.service import RandomBatch
from worker_svc import step


def counts(client: Client) -> MethodCounts:
    return client.metrics.method("bidi_stream", step.RANDOM.path)


async def codes(client: Client) -> Mapping[str, int]:
    """How streams ended, once all have; a stream's end is noted in the turn of the loop after it."""
    found = counts(client)
    await client.until(lambda: found.handled.total() == found.started)
    return {code: calls for code, calls in found.handled.items() if calls}


async def test_streams_that_are_answered_end_ok_and_each_message_is_counted() -> None:
    port = free_port()
    async with backend("a", port) as server:
        async with Client([port]).running() as client:
            await client.until(lambda: server.streams >= 6)
            await client.answered_once()
        assert await codes(client) == {"OK": server.streams}
        assert counts(client).sent == counts(client).received == client.asked == len(server.batches)


async def test_a_stream_takes_as_long_as_it_is_open() -> None:
    port = free_port()
    async with backend("a", port) as server:
        async with Client([port], generation=60).running() as client:
            await client.until(lambda: server.open_streams == 2)
            await asyncio.sleep(0.5)
            await client.answered_once()
        await codes(client)
        assert 2 * 0.5 <= counts(client).handling.seconds < 2 * 2


class Silent(Backend):
    async def serve(self, requests: Requests, context: Context) -> Responses:
        await server.name_server(context, "silent")
        await asyncio.Event().wait()
        yield RandomBatch(0, b"")


async def test_streams_that_are_given_up_are_cancelled() -> None:
    port = free_port()
    async with backend("silent", port, Silent) as server:
        async with Client([port], generation=60).running() as client:
            await client.until(lambda: server.open_streams == 2)
        assert await codes(client) == {"CANCELLED": 2}
        assert counts(client).received == 0


class Ending(Backend):
    """Ends each stream with this code instead of an answer."""

    code: grpc.StatusCode

    async def serve(self, requests: Requests, context: Context) -> Responses:
        await server.name_server(context, "ending")
        async for _ in requests:
            await context.abort(self.code, "ended by the test")
        yield RandomBatch(0, b"")


class Unavailable(Ending):
    code = grpc.StatusCode.UNAVAILABLE


class Exhausted(Ending):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_that_its_server_ends_has_the_server_s_code() -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("unavailable", ports[0], Unavailable),
        backend("exhausted", ports[1], Exhausted),
        Client(ports, generation=60).running() as client,
    ):
        handled = counts(client).handled
        await client.until(lambda: handled["UNAVAILABLE"] > 1 and handled["RESOURCE_EXHAUSTED"] > 1)
        assert handled["OK"] == 0


class Lying(Backend):
    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            yield response._replace(data=b"")


async def test_a_stream_ended_for_a_wrong_answer_is_cancelled_by_this_side() -> None:
    port = free_port()
    async with backend("lying", port, Lying), Client([port], generation=60).running() as client:
        await client.until(lambda: counts(client).handled["CANCELLED"] > 1)
        assert set(client.pool.errors) == {"INTERNAL"}
