"""The model beside what is measured where services wait on purpose, so that two cores do for any number of replicas."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import progress
from bench.scaling.mined import mine
from bench.scaling.model import CLASSIC, Costs, Node, Pace, System, predict
from bench.scaling.point import Point
from bench.system import servers

AT_A_TIME = 3
"""Systems side by side; each takes little CPU once it has started."""

HOSTS = ("127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14")

DELAY = 0.02

SHORT = Pace(rng_delay=DELAY, rng_concurrency=1, hasher_delay=DELAY, hasher_concurrency=1)
"""Both serial, 50 batches a second by each replica."""

WAITING = Pace(worker_delay=0.05, rng_delay=DELAY, rng_concurrency=4, hasher_delay=DELAY, hasher_concurrency=4)
"""The worker waits most."""

BATCH_SIZE = 64


def of(replicas: tuple[int, int, int], pace: Pace, window: int = 1, batch_size: int = 1) -> System:
    """A system of so many workers, rngs and hashers, whose cores don't matter."""
    workers, rngs, hashers = replicas
    return System((Node(2, rngs, hashers, workers),), batch_size, window, pace)


ALONE = of((1, 1, 1), SHORT, 1, BATCH_SIZE)
"""From which the time of a batch's way is taken."""

SYSTEMS = (
    of((1, 1, 1), CLASSIC),
    of((3, 1, 1), CLASSIC),
    of((10, 1, 1), CLASSIC),
    of((10, 2, 2), CLASSIC),
    of((1, 1, 1), SHORT, 8, BATCH_SIZE),
    of((1, 2, 2), SHORT, 8, BATCH_SIZE),
    of((2, 3, 3), SHORT, 8, BATCH_SIZE),
    of((2, 4, 4), SHORT, 16, BATCH_SIZE),
    of((2, 4, 1), SHORT, 8, BATCH_SIZE),
    of((1, 1, 1), WAITING, 2, BATCH_SIZE),
    of((3, 1, 1), WAITING, 4, BATCH_SIZE),
)


@dataclass(frozen=True)
class Measured:
    """A system and its speed."""

    system: System
    speed: float


def measure(rounds: int, seconds: float, folder: Path) -> list[Point]:
    """The points. Raises BenchError when a service does not do its work."""
    points = {system: Point(name(system)) for system in SYSTEMS}
    for number in range(rounds):
        progress.show(f"paced systems: {len(SYSTEMS) + 1}, {AT_A_TIME} at a time; round {number + 1} of {rounds}")
        with ThreadPoolExecutor(AT_A_TIME) as some:
            alone, *others = some.map(lambda system: run(system, seconds, folder), (ALONE, *SYSTEMS))
        costs = Costs({}, way=way(alone))
        for each in others:
            points[each.system].predicted.append(predict(each.system, costs))
            points[each.system].measured.append(each.speed)
    progress.show("")
    return list(points.values())


def run(system: System, seconds: float, folder: Path) -> Measured:
    """Have one mine, beside others. Raises BenchError when a service does not do its work."""
    hosts = HOSTS[: max(system.replicas("rng"), system.replicas("hasher"))]
    place = folder / f"{time.monotonic_ns()}"
    place.mkdir()
    with servers(place, {"PACE": "classic", **_settings(system.pace)}, hosts) as running:
        return Measured(system, mine(running, system, seconds, {}).speed)


def _settings(pace: Pace) -> dict[str, str]:
    """Of rng and hasher, where they are not the classic ones."""
    if pace == CLASSIC:
        return {}
    return {"DELAY": f"{pace.rng_delay}", "CONCURRENCY": f"{pace.rng_concurrency}"}


def way(alone: Measured) -> float:
    """Seconds of a batch beyond its delays, where one is in flight."""
    pace = alone.system.pace
    waited = pace.worker_delay + pace.rng_delay + pace.hasher_delay
    return max(alone.system.batch_size / alone.speed - waited, 0.0)


def name(system: System) -> str:
    """What it is."""
    workers, rngs, hashers = (system.replicas(service) for service in ("worker", "rng", "hasher"))
    kind = {CLASSIC: "classic", SHORT: "20 ms, serial", WAITING: "50+20+20 ms, 4 at once"}.get(system.pace, "paced")
    window = f", {system.window} in flight" if system.window > 1 else ""
    return f"{kind}: {workers} w, {rngs} r, {hashers} h{window}"
