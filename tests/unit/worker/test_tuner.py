"""What a trial measures."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.virtual_time import now

from worker_svc.batch import Batch
from worker_svc.compass_search import Outcome, Point, Search, Trial
from worker_svc.tuner import LEAST_BATCHES, Tuner

ONE, TWO = Point(10, 1), Point(20, 2)


class Experiment:
    def __init__(self, *points: Point, seconds: float = 1.0) -> None:
        self.applied: list[Point] = []
        self.outcomes: list[Outcome] = []
        self.tuner = Tuner(self._search(points, seconds), self.applied.append)

    def _search(self, points: tuple[Point, ...], seconds: float) -> Search:
        for point in points:
            self.outcomes.append((yield Trial(point, seconds, point)))
        while True:
            yield Trial(points[-1], 3600, points[-1])

    async def done(self, begin: float, *moments: float, count: int = 10) -> None:
        for moment in moments:
            self.tuner.count(Batch(1, count, 32, begin), moment)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def experiment() -> AsyncIterator[Experiment]:
    made = Experiment(ONE, TWO)
    task = asyncio.create_task(made.tuner.run())
    await asyncio.sleep(0)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_point_is_applied_at_once(experiment: Experiment) -> None:
    assert experiment.applied == [ONE]
    assert experiment.tuner.best == ONE


async def test_speed_is_between_the_first_and_the_last_batch(experiment: Experiment) -> None:
    begin = now() + 1
    await experiment.done(begin, *(begin + 5 + tenth / 10 for tenth in range(21)))
    assert experiment.outcomes[0].speed == pytest.approx(100)
    assert experiment.applied == [ONE, TWO]


async def test_batches_from_before_a_trial_are_no_part_of_it(experiment: Experiment) -> None:
    await experiment.done(now() - 1, *(now() + second for second in range(100)))
    assert not experiment.outcomes


async def test_a_trial_takes_a_number_of_batches_however_slow_they_are(experiment: Experiment) -> None:
    begin = now() + 1
    slow = [begin + 10 * number for number in range(LEAST_BATCHES)]
    await experiment.done(begin, *slow[:-1])
    assert not experiment.outcomes
    await experiment.done(begin, slow[-1])
    assert experiment.outcomes[0].speed == pytest.approx(1)


async def test_one_hiccup_is_no_latency(experiment: Experiment) -> None:
    begin = now() + 1
    for tenth in range(20):
        await experiment.done(begin + tenth / 10, begin + tenth / 10 + (1.5 if tenth == 5 else 0.2))
    assert experiment.outcomes[0].latency == pytest.approx(0.2)
