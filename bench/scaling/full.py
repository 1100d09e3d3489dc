"""The model beside what is measured at full pace: one rng, one hasher, and workers, on two cores or on nodes of one.

In each round the costs are taken from a few turns and all others are predicted from these, so that a machine that is
slower for a while is so for both. What others than the system took of the cores in a turn is no cores of the system's.
A node of one core is made by keeping processes on it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from bench import progress
from bench.processes import BenchError
from bench.scaling.mined import Mined, Pins, mine
from bench.scaling.model import SERVICES, Cost, Costs, Node, System, fitted, predict
from bench.scaling.point import Point
from bench.system import servers

WINDOW = 8
"""Batches in flight, the default where a batch size is set."""

CALIBRATED = (16, 4_096, 65_536)
"""Batch sizes that the costs are taken from, with one worker."""

TOGETHER = {"rng": 0, "hasher": 0, "worker": 0}
HASHER_APART = {"rng": 0, "hasher": 1, "worker": 0}
WORKER_APART = {"rng": 1, "hasher": 1, "worker": 0}
"""Nodes of one core, as pins."""

CORES = 2
"""That the machine must have: with more, one process of each would be the limit, not the cores."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One point's system."""

    batch_size: int
    workers: int = 1
    hashers: int = 1
    pins: Pins | None = None

    @property
    def name(self) -> str:
        """What it is."""
        kinds = f"batch {self.batch_size:,}"
        kinds += f", {self.workers} workers" if self.workers > 1 else ""
        kinds += f", {self.hashers} hashers" if self.hashers > 1 else ""
        if self.pins is None:
            return kinds
        apart = {core: [service for service in SERVICES if self.pins[service] == core] for core in (0, 1)}
        return f"{kinds}; nodes: {' | '.join('+'.join(each) for each in apart.values() if each)}"

    def system(self, left: Mapping[int, float]) -> System:
        """As the model knows it, where so much of each core was left."""
        counts = {"rng": 1, "hasher": self.hashers, "worker": self.workers}
        if self.pins is None:
            return System((Node(sum(left.values()), **counts),), self.batch_size, WINDOW)
        apart = [{service: counts[service] for service in SERVICES if self.pins[service] == core} for core in (0, 1)]
        nodes = [Node(left[core], **each) for core, each in enumerate(apart) if each]
        return System(nodes, self.batch_size, WINDOW)


CALIBRATING = {size: Turn(size) for size in CALIBRATED}

PREDICTED = (
    Turn(1),
    Turn(64),
    Turn(256),
    Turn(1_024),
    Turn(16_384),
    Turn(256, workers=2),
    Turn(16_384, workers=2),
    Turn(4_096, hashers=2),
    Turn(256, pins=TOGETHER),
    Turn(16_384, pins=TOGETHER),
    Turn(1_024, pins=HASHER_APART),
    Turn(16_384, pins=HASHER_APART),
    Turn(16_384, pins=WORKER_APART),
)


def measure(rounds: int, seconds: float, folder: Path) -> tuple[list[Point], Costs]:
    """The points, and the costs of the machine. Raises BenchError when a service does not do its work."""
    if sys.platform != "linux" or os.cpu_count() != CORES:
        raise BenchError(f"full: only on Linux with {CORES} cores, as docs/scaling.md says")
    points = {turn: Point(turn.name) for turn in PREDICTED}
    calibrations = []
    turns = [*PREDICTED]
    for number, turn in enumerate(CALIBRATING.values()):  # among the others, not all at the begin
        turns.insert((number * 2 + 1) * len(PREDICTED) // 6 + number, turn)
    with servers(folder, {"PACE": "full"}, ("127.0.0.11", "127.0.0.12")) as running:
        for number in range(rounds):
            results: dict[Turn, Mined] = {}
            for turn in turns if number % 2 else turns[::-1]:
                progress.show(f"full pace: round {number + 1} of {rounds}, {turn.name}")
                whole = turn.system(dict.fromkeys(range(CORES), 1.0))
                results[turn] = mine(running, whole, seconds, {}, turn.pins)
            costs = calibrated({size: results[turn] for size, turn in CALIBRATING.items()})
            calibrations.append(costs)
            for turn, point in points.items():
                result = results[turn]
                point.predicted.append(predict(turn.system(result.left), costs))
                point.measured.append(result.speed)
    progress.show("")
    return list(points.values()), _middle(calibrations)


def calibrated(results: Mapping[int, Mined]) -> Costs:
    """What these say, by batch size."""
    costs = {
        service: fitted({size: result.cpu_a_batch(service, size) for size, result in results.items()})
        for service in SERVICES
    }
    # So that the model is right about these on the average, whatever the straight lines leave out.
    usable = mean(
        result.speed / size * sum(cost.of(size) for cost in costs.values()) / sum(result.left.values())
        for size, result in results.items()
    )
    return Costs(costs, usable)


def _middle(calibrations: Sequence[Costs]) -> Costs:
    costs = {
        service: Cost(
            median(each.services[service].batch for each in calibrations),
            median(each.services[service].hash for each in calibrations),
        )
        for service in SERVICES
    }
    return Costs(costs, median(each.usable for each in calibrations))
