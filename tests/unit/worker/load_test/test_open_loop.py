"""The open loop and a pipeline between two stand-ins that never answer, or at once."""

import asyncio
from collections.abc import Callable

import pytest

from worker_svc.batch import Batch
from worker_svc.load_test.open_loop import OpenLoop
from worker_svc.load_test.schedule import Rate
from worker_svc.pipeline import Pipeline

pytestmark = pytest.mark.alone(reason="times are measured to hundredths of a second")


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

    @property
    def elapsed(self) -> float:
        """Seconds since the start, after all that was due by now."""
        self.loop.proceed()
        return asyncio.get_running_loop().time() - self.loop._started

    def _done(self, batch: Batch, _: float) -> None:
        self.done.append(batch)
        self.loop.proceed()


async def test_batches_are_begun_when_due_though_none_is_answered() -> None:
    bench = Bench("1000", answers=False)
    bench.loop.start()
    await asyncio.sleep(0.25)
    elapsed = bench.elapsed
    assert len(bench.rng.asked) == pytest.approx(100 * elapsed, abs=2)
    # A timer may be early by a millisecond; one that is late makes no batch late.
    due = [index / 100 for index in range(len(bench.rng.asked))]
    assert [batch.begun - bench.loop._started for batch in bench.rng.asked] == pytest.approx(due, abs=0.002)


async def test_what_finds_no_room_waits_and_its_time_runs_from_when_it_was_due() -> None:
    bench = Bench("1000", answers=False, window=2)
    bench.loop.start()
    await asyncio.sleep(0.1)
    assert len(bench.rng.asked) == 2
    bench.rng.on_answer(bench.rng.asked[0])
    assert len(bench.rng.asked) == 3
    assert bench.rng.asked[2].begun - bench.loop._started == pytest.approx(0.02, abs=0.002)


async def test_what_is_not_begun_in_the_end_has_waited_since_it_was_due() -> None:
    bench = Bench("1000", answers=False, window=2)
    bench.loop.start()
    await asyncio.sleep(0.1)
    elapsed = bench.elapsed
    waits = bench.loop.stop(since=0)
    assert sum(batches for _, batches in waits) == pytest.approx(100 * elapsed - 2, abs=2)
    assert max(wait for wait, _ in waits) == pytest.approx(elapsed - 0.02, abs=0.005)
    bench.rng.on_answer(bench.rng.asked[0])
    assert len(bench.rng.asked) == 2


async def test_what_was_due_in_the_warm_up_is_left_out() -> None:
    bench = Bench("1000", answers=False, window=2, warm_up=0.1)
    bench.loop.start()
    await asyncio.sleep(0.15)
    elapsed = bench.elapsed
    waits = bench.loop.stop(since=0.1)
    assert max(wait for wait, _ in waits) <= elapsed - 0.1 + 0.005


async def test_many_waits_are_told_in_few() -> None:
    bench = Bench("1e9", answers=False, window=2)
    bench.loop.start()
    await asyncio.sleep(0.05)
    waits = bench.loop.stop(since=0)
    assert len(waits) < 25_000
    assert sum(batches for _, batches in waits) > 4_000_000


async def test_a_schedule_comes_to_its_end() -> None:
    bench = Bench("1000..2000", answers=True, duration=0.1)
    bench.loop.start()
    await asyncio.sleep(0.2)
    assert len(bench.done) == 15
    assert bench.loop.stop(since=0) == []
