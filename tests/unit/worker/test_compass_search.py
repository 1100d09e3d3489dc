import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

import pytest

from worker_svc.compass_search import Outcome, Point, compass_search
from worker_svc.settings import WorkerSettings

SETTLING = 0.1
"""Seconds that a change of the point takes to show."""


@dataclass
class Model:
    """One serial server: a batch costs it a fixed time and some more a message; a network lies before it."""

    batch_seconds: float = 200e-6
    message_seconds: float = 0.4e-6
    round_trip: float = 1e-3
    noise: float = 0.02
    """Standard deviation of the speed of half a second."""
    chance: random.Random = field(default_factory=lambda: random.Random(1), repr=False)

    def exact(self, point: Point) -> Outcome:
        work = self.batch_seconds + point.batch_size * self.message_seconds
        latency = max(work * point.window, work + self.round_trip)
        return Outcome(point.batch_size * point.window / latency, latency)

    def measure(self, point: Point, seconds: float) -> Outcome:
        speed, latency = self.exact(point)
        return Outcome(
            speed * self.chance.gauss(1, self.noise / (2 * seconds) ** 0.5), latency * self.chance.uniform(1, 1.1)
        )

    def best(self, allowed: Callable[[Point], bool], target: float) -> float:
        points = (Point(2**size, 2**window) for size in range(17) for window in range(13))
        outcomes = [self.exact(point) for point in points if allowed(point)]
        return max(outcome.speed for outcome in outcomes if outcome.latency <= target)


class Run:
    """A search on a model whose time passes as fast as it can."""

    def __init__(self, model: Model, **settings: float) -> None:
        self.model = model
        self.settings = WorkerSettings(pace="full", **settings)
        self.speeds: list[float] = []
        """In each tenth of a second."""
        self._search = compass_search(self.settings.start, self.settings.allows, self.settings.target_latency)
        self.trial = next(self._search)

    def until(self, second: int) -> None:
        while len(self.speeds) < 10 * second:
            tenths = round(10 * (self.trial.seconds + SETTLING))
            self.speeds += tenths * [self.model.exact(self.trial.point).speed]
            self.trial = self._search.send(self.model.measure(self.trial.point, self.trial.seconds))

    def check(self, since: int) -> None:
        """At least 95 % of the best that meets the target, in no 10 s less than 85 %."""
        speeds = self.speeds[10 * since :]
        best = self.model.best(self.settings.allows, self.settings.target_latency)
        assert fmean(speeds) >= 0.95 * best, self.trial
        slowest = min(fmean(speeds[begin : begin + 100]) for begin in range(0, len(speeds) - 100, 10))
        assert slowest >= 0.85 * best, self.trial


SYSTEMS = [
    Model(),
    Model(batch_seconds=1e-3),
    Model(message_seconds=4e-6),
    Model(batch_seconds=10e-3, message_seconds=0),
    Model(round_trip=20e-3),
    Model(noise=0.03),
]


@pytest.mark.parametrize("model", SYSTEMS, ids=repr)
@pytest.mark.parametrize("seed", range(5))
def test_it_finds_nearly_the_best_within_15_seconds_and_stays_there(model: Model, seed: int) -> None:
    model.chance.seed(seed)
    run = Run(model)
    run.until(120)
    run.check(since=15)


def test_it_follows_when_the_system_changes() -> None:
    model = Model()
    run = Run(model)
    run.until(60)
    model.round_trip = 40e-3
    model.message_seconds = 0.2e-6
    run.until(180)
    run.check(since=90)


@pytest.mark.parametrize("target", [0.01, 0.03, 0.3])
def test_latency_stays_below_the_target(target: float) -> None:
    run = Run(Model(), target_latency=target)
    run.until(60)
    assert run.model.exact(run.trial.best).latency <= target
    run.check(since=15)


def test_what_is_set_is_left_alone_and_no_more_bytes_are_in_flight_than_allowed() -> None:
    fixed = Run(Model(round_trip=20e-3), window_size=4)
    slow = Run(Model(round_trip=1.0), target_latency=60, message_size=1024)
    for second in range(100):
        fixed.until(second)
        assert fixed.trial.point.window == 4
        slow.until(second)
        point = slow.trial.point
        assert point.batch_size * 1024 <= 2 * 1024**2
        assert point.batch_size * 1024 * point.window <= 64 * 1024**2
