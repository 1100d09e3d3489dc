"""Batches that are late are asked of a second backend, once, while the budget lasts; the first answer wins."""

import asyncio
import re
from contextlib import AsyncExitStack

import grpc
import pytest
from support.free_port import free_port
from system.worker.pool_system import Backend, Client, Context, Requests, Responses, backend

from rng_svc.service import RandomBatch
from rng_svc.settings import RngSettings
from worker_svc import hedging
from worker_svc.hedging import BUDGET, LEAST_LATE

pytestmark = pytest.mark.pair(reason="what is late is so by tenths of a second")


class Stalling(Backend):
    """Answers at once until it is told to stall; then no batch until it is told to go on."""

    def __init__(self, settings: RngSettings) -> None:
        super().__init__(settings)
        self.going = asyncio.Event()
        self.going.set()

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            await self.going.wait()
            yield response


async def test_the_batches_of_a_backend_that_stalls_are_answered_by_another() -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("good", ports[0], delay=0.01) as good,
        backend("stalling", ports[1], Stalling) as stalling,
        Client(ports, window=4, generation=60).running() as client,
    ):
        assert isinstance(stalling, Stalling)
        await client.until(lambda: len(client.answers) > 200)
        stalling.going.clear()
        await client.until(lambda: len(set(stalling.batches) & set(good.batches)) == 2)
        await client.answered_once()
        stalling.going.set()


class Wrong(Stalling):
    """Its random bytes are all alike, so that they can be told from anybody else's."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            yield RandomBatch(response.batch_id, bytes(len(response.data)))


async def test_the_answer_that_comes_second_changes_nothing() -> None:
    """The random bytes of a batch may be on their way to a hasher by then."""
    ports = [free_port(), free_port()]
    async with (
        backend("good", ports[0], delay=0.01) as good,
        backend("wrong", ports[1], Wrong) as wrong,
        Client(ports, window=4, generation=60).running() as client,
    ):
        assert isinstance(wrong, Wrong)
        await client.until(lambda: len(client.answers) > 200)
        wrong.going.clear()
        await client.until(lambda: len(set(wrong.batches) & set(good.batches)) == 2)
        twice = set(wrong.batches) & set(good.batches)
        await client.until(lambda: twice <= set(client.answers))
        before = len(wrong.batches)
        wrong.going.set()
        await client.until(lambda: len(wrong.batches) > before + 10)
        await client.answered_once()
        assert all(any(client.data[batch_id]) for batch_id in twice)


class Slow(Backend):
    """Fast for its first batches, and late with each one after them."""

    async def serve(self, requests: Requests, context: Context) -> Responses:
        async for response in super().serve(requests, context):
            if len(self.batches) > 100:
                await asyncio.sleep(LEAST_LATE + 0.2)
            yield response


async def test_when_all_are_late_few_batches_are_asked_twice() -> None:
    ports = [free_port(), free_port()]
    async with (
        backend("one", ports[0], Slow) as one,
        backend("two", ports[1], Slow) as two,
        Client(ports, window=16, generation=60).running() as client,
    ):
        await client.until(lambda: len(one.batches) > 100 and len(two.batches) > 100)
        await asyncio.sleep(3)
        await client.answered_once()
        twice = set(one.batches) & set(two.batches)
        assert 0 < len(twice) <= BUDGET * client.asked


async def test_a_batch_that_nobody_else_can_answer_is_asked_once_and_said_to_be_late(
    capfd: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    async with (
        backend("only", port, Stalling) as only,
        Client([port], window=4, generation=60).running() as client,
    ):
        assert isinstance(only, Stalling)
        await client.until(lambda: len(client.answers) > 200)
        only.going.clear()
        await asyncio.sleep(LEAST_LATE + 0.5)
        only.going.set()
        await client.answered_once()
        assert len(only.batches) == len(set(only.batches))
    assert re.search("no answer yet +backend=only .*seconds=0", capfd.readouterr().out)


async def test_the_very_first_batch_is_said_to_be_late_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though nobody knows yet how long one usually takes."""
    monkeypatch.setattr(hedging, "FIRST_SLOW_S", 0.2)
    port = free_port()
    async with backend("only", port, Stalling) as only:
        assert isinstance(only, Stalling)
        only.going.clear()
        async with Client([port], window=1, generation=60).running() as client:
            await client.until(lambda: "no answer yet" in capfd.readouterr().out)
            only.going.set()
            await client.answered_once()


async def test_a_batch_is_asked_again_when_both_that_were_asked_are_gone() -> None:
    ports = [free_port(), free_port(), free_port()]
    async with AsyncExitStack() as stack:
        going_away = await stack.enter_async_context(AsyncExitStack())
        one, two = [await going_away.enter_async_context(backend(f"b{port}", port, Stalling)) for port in ports[:2]]
        assert isinstance(one, Stalling)
        assert isinstance(two, Stalling)
        client = await stack.enter_async_context(Client(ports, window=1, generation=60).running())
        await client.until(lambda: len(client.answers) > 200 and len(client.pool.backends) == 2)
        one.going.clear()
        two.going.clear()
        await client.until(lambda: one.batches[-1] == two.batches[-1])
        stuck = one.batches[-1]
        await going_away.aclose()
        assert stuck not in client.answers
        three = await stack.enter_async_context(backend("three", ports[2]))
        await client.until(lambda: stuck in client.answers)
        assert stuck in three.batches
        await client.answered_once()


async def test_what_a_broken_stream_owed_goes_elsewhere_first() -> None:
    """A batch that breaks whoever gets it would otherwise meet the same server again and again."""
    ports = [free_port(), free_port()]

    class Allergic(Backend):
        async def serve(self, requests: Requests, context: Context) -> Responses:
            async for response in super().serve(requests, context):
                if response.batch_id % 10 == 0:
                    await context.abort(code=grpc.StatusCode.UNAVAILABLE)
                yield response

    async with (
        backend("good", ports[0], delay=0.005),
        backend("allergic", ports[1], Allergic) as allergic,
        Client(ports, window=4, generation=60).running() as client,
    ):
        await client.until(lambda: len(client.answers) > 500)
        await client.answered_once()
        tenth = [batch_id for batch_id in allergic.batches if batch_id % 10 == 0]
        assert tenth
        assert len(tenth) == len(set(tenth))
