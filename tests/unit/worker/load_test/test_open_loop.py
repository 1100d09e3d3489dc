"""The open loop and a pipeline between two stand-ins that never answer, or at once."""

import asyncio
from collections.abc import Callable

import pytest
from support.virtual_time import freeze

from chassis.timer import WAKING_TIME
from worker_svc.batch import Batch
from worker_svc.load_test.open_loop import MAX_WAITS, OpenLoop
from worker_svc.load_test.schedule import Rate
from worker_svc.pipeline import Pipeline


class Stand:
    def __init__(self, *, answers: bool) -> None:
        self.on_answer: Callable[[Batch], None]
        self.asked: list[Batch] = []
        self._answers = answers

    def submit(self, batch: Batch) -> None:
        self.asked.append(batch)
        if self._answers:
            self.on_answer(batch)


class Bench:
    def __init__(
        self, rate: str, *, answers: bool, window: int = 1_000, warm_up: float = 0, duration: float = 1
    ) -> None:
        self.rng = Stand(answers=answers)
        self.done: list[Batch] = []
        self.pipeline = Pipeline(
            self.rng,
            Stand(answers=True),
            batch_size=10,
            message_size=32,
            window=window,
            delay=0,
            on_begin=lambda _: None,
            on_done=self._done,
        )
        self.loop = OpenLoop(self.pipeline, 10, Rate.parse(rate).schedule(warm_up, duration))

    def _done(self, batch: Batch, _: float) -> None:
        self.done.append(batch)
        self.loop.proceed()


async def test_batches_are_begun_when_due_though_none_is_answered() -> None:
    bench = Bench("1000", answers=False)
    bench.loop.start()
    await asyncio.sleep(0.245)
    due = [index / 100 for index in range(25)]
    assert [batch.begun for batch in bench.rng.asked] == pytest.approx(due, abs=1.1 * WAKING_TIME)


async def test_what_finds_no_room_waits_and_its_time_runs_from_when_it_was_due() -> None:
    bench = Bench("1000", answers=False, window=2)
    bench.loop.start()
    await asyncio.sleep(0.1)
    assert len(bench.rng.asked) == 2
    bench.rng.on_answer(bench.rng.asked[0])
    assert len(bench.rng.asked) == 3
    assert bench.rng.asked[2].begun == 0.02


async def test_what_is_late_is_made_up_for() -> None:
    bench = Bench("1000", answers=False)
    bench.loop.start()
    await asyncio.sleep(0.005)
    freeze(0.05)
    await asyncio.sleep(0.001)
    assert [batch.begun for batch in bench.rng.asked] == [index / 100 for index in range(6)]


@pytest.mark.parametrize("warm_up", [0, 0.1])
async def test_what_is_not_begun_in_the_end_has_waited_since_it_was_due(warm_up: float) -> None:
    bench = Bench("1000", answers=False, window=2, warm_up=warm_up)
    bench.loop.start()
    await asyncio.sleep(0.155)
    waits = bench.loop.stop(since=warm_up)
    due = [index / 100 for index in range(2, 16) if index / 100 >= warm_up]
    assert [batches for _, batches in waits] == [1] * len(due)
    assert [wait for wait, _ in waits] == pytest.approx([0.155 - moment for moment in due])
    bench.rng.on_answer(bench.rng.asked[0])
    assert len(bench.rng.asked) == 2


async def test_many_waits_are_told_in_few() -> None:
    bench = Bench("1e9", answers=False, window=2)
    bench.loop.start()
    await asyncio.sleep(0.05)
    waits = bench.loop.stop(since=0)
    assert len(waits) <= 2 * MAX_WAITS
    assert sum(batches for _, batches in waits) == 5_000_000 - 2


async def test_a_schedule_comes_to_its_end() -> None:
    bench = Bench("1000..2000", answers=True, duration=0.1)
    bench.loop.start()
    await asyncio.sleep(0.2)
    assert len(bench.done) == 15
    assert bench.loop.stop(since=0) == []
