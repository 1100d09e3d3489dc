"""The pipeline between two stand-ins that answer when the test says so."""

import asyncio
from collections.abc import Callable

import pytest
from support.virtual_time import now

from worker_svc.batch import Batch
from worker_svc.pipeline import Pipeline


class Stand:
    """Keeps what it was asked for until the test answers it."""

    def __init__(self) -> None:
        self.on_answer: Callable[[Batch], None]
        self.asked: list[Batch] = []

    def submit(self, batch: Batch) -> None:
        self.asked.append(batch)

    def answer(self, index: int = 0) -> Batch:
        batch = self.asked.pop(index)
        self.on_answer(batch)
        return batch


class Bench:
    def __init__(self, window: int = 1, delay: float = 0.0) -> None:
        self.rng, self.hasher = Stand(), Stand()
        self.begun: list[float] = []
        self.counted: list[int] = []
        self.pipeline = Pipeline(
            self.rng,
            self.hasher,
            batch_size=4,
            message_size=32,
            window=window,
            delay=delay,
            on_begin=self.begun.append,
            on_done=lambda batch, _: self.counted.append(batch.id),
        )


async def test_a_batch_goes_to_rng_then_to_hasher_and_is_counted() -> None:
    bench = Bench()
    bench.pipeline.resume()
    batch = bench.rng.answer()
    assert bench.hasher.asked == [batch]
    bench.hasher.answer()
    assert bench.counted == [batch.id]


async def test_no_more_than_the_window_is_in_flight_over_both_steps() -> None:
    bench = Bench(window=5)
    bench.pipeline.resume()
    bench.rng.answer()
    bench.rng.answer()
    bench.pipeline.resume()
    assert len(bench.rng.asked) + len(bench.hasher.asked) == 5


async def test_a_slow_hasher_holds_up_rng() -> None:
    bench = Bench(window=3)
    bench.pipeline.resume()
    for _ in range(3):
        bench.rng.answer()
    assert bench.rng.asked == []
    bench.hasher.answer()
    assert len(bench.rng.asked) == 1


async def test_a_batch_answered_twice_is_counted_once() -> None:
    bench = Bench(window=2)
    bench.pipeline.resume()
    bench.rng.answer()
    batch = bench.hasher.answer()
    bench.hasher.on_answer(batch)
    assert bench.counted == [batch.id]


async def test_a_batch_begun_at_a_time_of_its_own_takes_room_in_the_window() -> None:
    bench = Bench(window=2)
    room = []
    for moment in (7.0, 8.0):
        bench.pipeline.begin(moment)
        room.append(bench.pipeline.has_room)
    assert room == [True, False]
    assert [batch.begun for batch in bench.pipeline.in_flight] == bench.begun == [7.0, 8.0]
    bench.rng.answer()
    bench.hasher.answer()
    assert bench.pipeline.has_room
    assert len(bench.rng.asked) == 1


async def test_ids_are_unique() -> None:
    bench = Bench(window=4)
    bench.pipeline.resume()
    for _ in range(20):
        bench.rng.answer()
        bench.hasher.answer()
    assert len(set(bench.counted)) == 20


async def test_a_paused_pipeline_finishes_what_it_has_and_begins_nothing() -> None:
    bench = Bench(window=2)
    bench.pipeline.resume()
    bench.pipeline.pause()
    for _ in range(2):
        bench.rng.answer()
        bench.hasher.answer()
    assert bench.rng.asked == []
    bench.pipeline.resume()
    assert len(bench.rng.asked) == 2


async def test_draining_waits_for_what_is_in_flight_and_counts_it() -> None:
    bench = Bench(window=2)
    bench.pipeline.resume()
    draining = asyncio.create_task(bench.pipeline.drain())
    await asyncio.sleep(0)
    for _ in range(2):
        assert not draining.done()
        bench.rng.answer()
        bench.hasher.answer()
    await draining
    assert len(bench.counted) == 2
    assert bench.rng.asked == []


async def test_draining_drops_batches_that_only_wait() -> None:
    bench = Bench(window=2, delay=30)
    bench.pipeline.resume()
    await bench.pipeline.drain()
    assert now() == 0
    assert bench.pipeline.oldest is None
    assert bench.rng.asked == []


async def test_each_batch_waits_its_delay_from_its_beginning() -> None:
    bench = Bench(window=3, delay=0.1)
    bench.pipeline.resume()
    await asyncio.sleep(0.0985)
    assert bench.rng.asked == []
    await asyncio.sleep(0.002)
    assert len(bench.rng.asked) == 3


async def test_the_oldest_is_the_batch_that_began_first_and_is_not_counted() -> None:
    bench = Bench(window=2)
    bench.pipeline.resume()
    first, second = bench.rng.asked
    assert bench.pipeline.oldest == first.begun
    bench.rng.answer()
    bench.hasher.answer()
    assert bench.pipeline.oldest == pytest.approx(second.begun)


async def test_a_draining_pipeline_is_not_resumed() -> None:
    """Whoever resumes it once a second does not know yet."""
    bench = Bench(window=2)
    bench.pipeline.resume()
    draining = asyncio.create_task(bench.pipeline.drain())
    await asyncio.sleep(0)
    bench.pipeline.resume()
    for _ in range(2):
        bench.rng.answer()
        bench.hasher.answer()
    await draining
    assert bench.rng.asked == []
