import asyncio
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs
from support.virtual_time import now

from chassis.health import Health
from chassis.telemetry import Telemetry
from worker_svc import worker
from worker_svc.batch import Batch
from worker_svc.compass_search import Outcome, Point, Search, Trial
from worker_svc.settings import WorkerSettings
from worker_svc.tuner import LEAST_BATCHES, Tuner

ONE, TWO = Point(10, 1), Point(20, 2)


class Experiment:
    """Two trials of a second each."""

    running: asyncio.Task[None]

    def __init__(self) -> None:
        self.applied: list[Point] = []
        self.outcomes: list[Outcome] = []
        self.tuner = Tuner(self._search(), self.applied.append)

    def _search(self) -> Search:
        for point in (ONE, TWO):
            self.outcomes.append((yield Trial(point, 1.0, point)))
        while True:
            yield Trial(TWO, 3600, TWO)

    async def done(self, begin: float, *moments: float) -> None:
        for moment in moments:
            self.tuner.count(Batch(1, 10, 32, begin), moment)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def experiment() -> Experiment:
    made = Experiment()
    made.running = asyncio.create_task(made.tuner.run())
    await asyncio.sleep(0)
    return made


async def test_speed_is_between_the_first_and_the_last_batch_that_began_in_the_trial(experiment: Experiment) -> None:
    assert experiment.applied == [experiment.tuner.best] == [ONE]
    await experiment.done(now() - 1, *(now() + second for second in range(100)))
    assert not experiment.outcomes
    begin = now() + 1
    with capture_logs() as lines:
        await experiment.done(begin, *(begin + 5 + tenth / 10 for tenth in range(21)))
    assert experiment.outcomes[0].speed == pytest.approx(100)
    assert experiment.applied == [ONE, TWO]
    assert [(line["event"], line["batch_size"], line["window"]) for line in lines] == [("tuned", *TWO)]


async def test_a_trial_takes_a_number_of_batches_however_slow_they_are(experiment: Experiment) -> None:
    begin = now() + 1
    slow = [begin + 10 * number for number in range(LEAST_BATCHES)]
    await experiment.done(begin, *slow[:-1])
    assert not experiment.outcomes
    await experiment.done(begin, slow[-1])
    assert experiment.outcomes[0].speed == pytest.approx(1)


async def test_a_worker_searches_within_its_target_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Mock(return_value=iter([Trial(ONE, 1.0, ONE)]))
    monkeypatch.setattr(worker, "compass_search", search)
    settings = WorkerSettings(pace="full", target_latency=0.3)
    worker.Worker(settings, Telemetry(Health("rng", "hasher")))
    search.assert_called_once_with(settings.start, settings.allows, 0.3)


async def test_latency_is_that_of_nearly_all_batches_without_one_hiccup(experiment: Experiment) -> None:
    begin = now() + 1
    for tenth in range(20):
        await experiment.done(begin + tenth / 10, begin + tenth / 10 + {5: 1.5, 6: 0.3}.get(tenth, 0.2))
    assert experiment.outcomes[0].latency == pytest.approx(0.3)
