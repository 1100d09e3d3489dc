"""What each process holds with the largest batches, and as many in flight as a worker allows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import progress
from bench.bare_work import MESSAGE_SIZE
from bench.bound import AtMost, Bound
from bench.system import servers
from chassis.limits import MAX_BATCH_MESSAGES
from worker_svc.settings import MAX_IN_FLIGHT_BYTES

WINDOW = MAX_IN_FLIGHT_BYTES // (MAX_BATCH_MESSAGES * MESSAGE_SIZE)

LOOK_EVERY = 0.05
"""Seconds."""

MOST_MEGABYTES = 300

MOST_GROWTH = 1.1
"""Times what was held in the first half, in the second. Heaps settle for some seconds at first."""

SETTLED_AFTER = 60.0
"""Seconds of measuring from which growth is judged."""


@dataclass
class Held:
    """The most megabytes that were resident at any look, by process."""

    seconds: float
    """For how long it was looked at."""
    halves: tuple[dict[str, float], dict[str, float]] = field(default_factory=lambda: ({}, {}))
    """The first half of the time, and the second."""

    @property
    def most(self) -> dict[str, float]:
        """In all of the time."""
        first, second = self.halves
        return {name: max(first[name], megabytes) for name, megabytes in second.items()}

    @property
    def growth(self) -> float:
        """Times the first half's, in the second; of the process that grew most."""
        first, second = self.halves
        return max(megabytes / first[name] for name, megabytes in second.items())


def measure(seconds: float, folder: Path) -> Held:
    """Look for so long. Raises BenchError when nothing is mined."""
    progress.show(f"memory at batch {MAX_BATCH_MESSAGES:,}")
    settings = {"PACE": "full", "BATCH_SIZE": f"{MAX_BATCH_MESSAGES}", "WINDOW_SIZE": f"{WINDOW}"}
    held = Held(seconds)
    with servers(folder, settings) as running, running.worker({}) as worker:
        began = time.monotonic()
        for half, most in enumerate(held.halves, 1):
            while time.monotonic() < began + half * seconds / 2:
                for name, process in {**running.processes, "worker": worker}.items():
                    most[name] = max(most.get(name, 0), process.memory_info().rss / 1e6)
                time.sleep(LOOK_EVERY)
    progress.show("")
    return held


def lines(held: Held) -> Iterator[str]:
    """The table."""
    yield f"Resident at batch {MAX_BATCH_MESSAGES:,}, {WINDOW} in flight, over {held.seconds:.0f} s: the most, MB"
    yield "".join(f"{name:>12}" for name in held.most)
    yield "".join(f"{megabytes:>12.0f}" for megabytes in held.most.values())


def bounds(held: Held) -> list[Bound]:
    """What each process is held to."""
    most = max(held.most.values())
    bounds: list[Bound] = [AtMost(f"memory of any process at batch {MAX_BATCH_MESSAGES:,}, MB", most, MOST_MEGABYTES)]
    if held.seconds >= SETTLED_AFTER:
        bounds.append(AtMost("the second half's, times the first's", held.growth, MOST_GROWTH))
    return bounds
