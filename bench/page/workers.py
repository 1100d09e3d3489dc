"""Two hundred workers with an hour behind them."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import progress
from bench.bound import AtMost, Bound
from bench.page.browsers import opened
from bench.page.served import Served, page, store
from bench.page.simulation import Simulation

STREAMS = 20

MOST_CPU = 0.5
MOST_REDIS_MEGABYTES = 60
MOST_SECONDS = 1.0
"""For the history alone; the page has two to be drawn."""

QUERIES = ("/api/history?seconds=3600", "/api/history?seconds=3600&by=worker", "/api/history?seconds=900&by=worker")


@dataclass(frozen=True)
class Hour:
    """What so many workers cost."""

    workers: int
    redis_megabytes: dict[str, float]
    """By kind of key."""
    ready: float
    """Seconds from webui's start to its being ready."""
    cpu: float
    megabytes: float
    answers: dict[str, tuple[float, int]]
    """Seconds and bytes sent, by what was asked for."""


def measure(workers: int, seconds: float, folder: Path) -> Hour:
    """Write an hour, start webui, and look. Raises BenchError when it does not start."""
    with store(folder) as (url, client):
        progress.show(f"writing an hour of {workers} workers")
        simulation = Simulation(client, workers)
        simulation.write_hour()
        with simulation.reporting():
            time.sleep(1.5)  # each has reported, and holds its own key
            held = _megabytes(client)
            progress.show(f"{workers} workers")
            began = time.monotonic()
            with page(url, folder) as served:
                ready = time.monotonic() - began
                answers = {query: served.get(query) for query in QUERIES}
                cpu, megabytes = asyncio.run(_look(served, seconds))
    progress.show("")
    return Hour(workers, held, ready, cpu, megabytes, answers)


async def _look(served: Served, seconds: float) -> tuple[float, float]:
    async with opened(served.port, STREAMS):
        await asyncio.sleep(1)
        cpu, clock = served.cpu, time.monotonic()
        await asyncio.sleep(seconds)
        return (served.cpu - cpu) / (time.monotonic() - clock), served.megabytes


def _megabytes(client: Any) -> dict[str, float]:
    held: dict[str, float] = {}
    for key in client.scan_iter(count=1_000):
        kind, colon, _ = key.partition(":")
        kind = f"{kind}:<id>" if colon else kind
        held[kind] = held.get(kind, 0.0) + client.memory_usage(key, samples=0) / 1e6
    return held


def lines(hour: Hour) -> Iterator[str]:
    """The table."""
    yield f"An hour of {hour.workers} workers, {STREAMS} pages open"
    yield "Redis, MB: " + ", ".join(
        f"{kind} {megabytes:.1f}" for kind, megabytes in sorted(hour.redis_megabytes.items())
    )
    yield f"webui: ready after {hour.ready:.1f} s, CPU {hour.cpu:.2f}, {hour.megabytes:.0f} MB"
    for query, (seconds, size) in hour.answers.items():
        yield f"{query:<40}{seconds * 1e3:>7.0f} ms{size / 1e3:>8.1f} kB"


def bounds(hour: Hour) -> list[Bound]:
    """What is held to."""
    return [
        AtMost("CPU, cores", hour.cpu, MOST_CPU),
        AtMost("Redis, MB", sum(hour.redis_megabytes.values()), MOST_REDIS_MEGABYTES),
        *(AtMost(f"{query}, s", seconds, MOST_SECONDS) for query, (seconds, _) in hour.answers.items()),
    ]
