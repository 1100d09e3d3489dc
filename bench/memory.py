"""What each process holds with the largest batches, and as many in flight as a worker allows."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import progress
from bench.bare_work import MESSAGE_SIZE
from bench.bound import AtMost, Bound
from bench.system import servers
from chassis.limits import MAX_BATCH_COUNT
from worker_svc.settings import MAX_IN_FLIGHT_BYTES

WINDOW = MAX_IN_FLIGHT_BYTES // (MAX_BATCH_COUNT * MESSAGE_SIZE)

LOOK_EVERY = 0.05
"""Seconds."""

MOST_MEGABYTES = 300


def measure(seconds: float, folder: Path) -> Mapping[str, float]:
    """The most megabytes that were resident at any look, by process. Raises BenchError when nothing is mined."""
    progress.show(f"memory at batch {MAX_BATCH_COUNT:,}")
    settings = {"PACE": "full", "BATCH_SIZE": f"{MAX_BATCH_COUNT}", "WINDOW": f"{WINDOW}"}
    most: dict[str, float] = {}
    with servers(folder, settings) as running, running.worker({}) as worker:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, process in {**running.processes, "worker": worker}.items():
                most[name] = max(most.get(name, 0), process.memory_info().rss / 1e6)
            time.sleep(LOOK_EVERY)
    progress.show("")
    return most


def lines(most: Mapping[str, float]) -> Iterator[str]:
    """The table."""
    yield f"Resident at batch {MAX_BATCH_COUNT:,}, {WINDOW} in flight: the most, MB"
    yield "".join(f"{name:>12}" for name in most)
    yield "".join(f"{megabytes:>12.0f}" for megabytes in most.values())


def bounds(most: Mapping[str, float]) -> list[Bound]:
    """What each process is held to."""
    return [AtMost(f"memory of any process at batch {MAX_BATCH_COUNT:,}, MB", max(most.values()), MOST_MEGABYTES)]
