import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from support.fake_streams import FakeStageClient
from support.virtual_time import now

from worker_svc.batch import Batch
from worker_svc.pipeline import Pipeline
from worker_svc.stage import HASHER, RNG


class Run:
    def __init__(self, window: int, delay: float) -> None:
        self.rng, self.hasher = FakeStageClient(), FakeStageClient()
        self.counted: list[int] = []
        self.pipeline = Pipeline(
            self.rng,
            self.hasher,
            batch_size=4,
            message_size=32,
            window=window,
            delay=delay,
            on_counted=[lambda batch, _: self.counted.append(batch.id)],
        )

    def complete(self, batches: int = 1) -> None:
        for _ in range(batches):
            self.rng.complete()
            self.hasher.complete()


@asynccontextmanager
async def running(window: int = 1, delay: float = 0.0) -> AsyncIterator[Run]:
    run = Run(window, delay)
    run.pipeline.resume()
    yield run


async def test_a_batch_goes_to_rng_then_to_hasher_and_is_counted_once() -> None:
    async with running(window=2) as run:
        batch = run.rng.complete(b"random bytes")
        assert run.hasher.batches == [batch]
        run.hasher.complete(b"digests")
        assert (run.counted, batch.data, batch.digests) == ([batch.id], b"random bytes", b"digests")
        run.complete(20)
        assert len(set(run.counted)) == len(run.counted) == 21


async def test_no_more_than_the_window_is_in_flight_over_both_stages_so_a_slow_hasher_holds_up_rng() -> None:
    async with running(window=3) as run:
        run.rng.complete()
        run.pipeline.resume()
        assert (len(run.rng.batches), len(run.hasher.batches)) == (2, 1)
        run.rng.complete()
        run.rng.complete()
        assert run.rng.batches == []
        run.hasher.complete()
        assert len(run.rng.batches) == 1


async def test_the_window_grows_at_once_and_shrinks_as_batches_are_counted() -> None:
    async with running(window=2) as run:
        run.pipeline.resize(batch_size=8, window=4)
        await asyncio.sleep(0)
        assert [batch.count for batch in run.rng.batches] == [4, 4, 8, 8]
        run.pipeline.resize(batch_size=8, window=1)
        run.complete(3)
        assert len(run.rng.batches) == 1
        run.complete()
        assert len(run.rng.batches) == 1


async def test_a_paused_pipeline_finishes_what_it_has_and_begins_nothing_until_it_is_resumed() -> None:
    async with running(window=2) as run:
        run.pipeline.pause()
        run.complete(2)
        assert run.rng.batches == []
        run.pipeline.resume()
        assert len(run.rng.batches) == 2
        draining = asyncio.create_task(run.pipeline.drain(limit_s=5))
        await asyncio.sleep(1)
        run.complete(2)
        assert (await draining, len(run.counted)) == ([], 4)


async def test_draining_waits_for_what_is_in_flight_counts_it_and_is_final() -> None:
    async with running(window=2) as run:
        draining = asyncio.create_task(run.pipeline.drain(limit_s=5))
        await asyncio.sleep(0)
        run.pipeline.resume()
        for _ in range(2):
            assert not draining.done()
            run.complete()
        await draining
        assert len(run.counted) == 2
        assert run.rng.batches == []


async def test_each_batch_waits_its_delay_from_its_beginning_and_is_dropped_by_a_drain_meanwhile() -> None:
    async with running(window=3, delay=0.1) as run:
        await asyncio.sleep(0.0985)
        assert run.rng.batches == []
        await asyncio.sleep(0.002)
        assert len(run.rng.batches) == 3
    async with running(window=2, delay=30) as run:
        await run.pipeline.drain(limit_s=5)
        assert now() < 1
        assert run.pipeline.oldest is None
        assert run.rng.batches == []


async def test_the_oldest_is_the_batch_that_began_first_and_is_not_counted() -> None:
    async with running(window=2) as run:
        assert run.pipeline.oldest == 0
        await asyncio.sleep(1)
        run.complete()
        assert run.pipeline.oldest == 0
        run.complete()
        assert run.pipeline.oldest == 1


async def test_a_batch_without_a_response_is_dropped_at_the_end_of_a_drain_and_not_counted_later() -> None:
    async with running(window=2) as run:
        batch = run.rng.complete()
        assert [each.id for each in await run.pipeline.drain(limit_s=1)] == [batch.id, batch.id + 1]
        run.hasher.complete()
        assert run.counted == []


DATA = bytes(256 * 32)


def test_a_batch_that_is_not_traced_has_not_one_byte_more() -> None:
    batch = Batch(7, 256, 32, 0.0, DATA)
    random = StreamRandomBytesRequest(batches=[StreamRandomBytesRequest.Batch(batch_id=7, count=256, size=32)])
    assert RNG.request([batch]) == random.SerializeToString()
    hashes = StreamHashesRequest(batches=[StreamHashesRequest.Batch(batch_id=7, message_size=32, data=DATA)])
    assert len(HASHER.request([batch])) == hashes.ByteSize()
