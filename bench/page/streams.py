"""A thousand pages open at once, some of them not reading."""

import asyncio
import bisect
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import progress
from bench.bound import AtMost, Bound
from bench.page.browsers import Browser, opened
from bench.page.served import Served, page, store
from bench.page.simulation import Simulation
from bench.processes import BenchError

WORKERS = 10
NOT_READING = 50

MOST_CPU = 0.6
MOST_MEGABYTES = 250
MOST_DELAY = 2.0
"""Seconds within which every stream must have heard."""
MOST_DELAY_P99 = 0.5
"""Seconds from Redis to a browser: a report waits up to one second with the worker, and 1.5 are allowed."""

LOOK_EVERY = 0.2
"""Seconds."""


@dataclass(frozen=True)
class Load:
    """What so many streams cost, and how late they heard."""

    streams: int
    not_reading: int
    cpu: float
    megabytes: float
    delays: list[float]
    """Seconds from Redis to a browser, of each lot of reports and browser, sorted."""
    lost: int
    """Streams that ended although they read."""

    def delay(self, part: float) -> float:
        """A quantile of the delays."""
        return self.delays[min(len(self.delays) - 1, int(part * len(self.delays)))]


def measure(streams: int, seconds: float, folder: Path) -> list[Load]:
    """With all reading, and with some that do not. Raises BenchError when a stream is not opened or hears nothing."""
    loads = []
    with store(folder) as (url, client), page(url, folder) as served:
        simulation = Simulation(client, WORKERS)
        with simulation.reporting():
            for not_reading in (0, NOT_READING):
                progress.show(f"{streams} streams, {not_reading} not reading")
                loads.append(asyncio.run(_load(served, simulation, streams, not_reading, seconds)))
    progress.show("")
    return loads


async def _load(served: Served, simulation: Simulation, streams: int, not_reading: int, seconds: float) -> Load:
    async with (
        opened(served.port, streams - not_reading) as reading,
        opened(served.port, not_reading, reading=False),
    ):
        await asyncio.sleep(2)  # all have their snapshots
        began, cpu, megabytes = time.time(), served.cpu, 0.0
        clock = time.monotonic()
        while time.monotonic() < clock + seconds:
            await asyncio.sleep(LOOK_EVERY)
            megabytes = max(megabytes, served.megabytes)
        cpu = (served.cpu - cpu) / (time.monotonic() - clock)
        until = time.time() - MOST_DELAY
        written = [(at, hashes) for at, hashes in simulation.written if began <= at <= until]
        delays = sorted(delay for browser in reading for delay in _delays(browser, written))
        if not delays:
            raise BenchError("no stream heard anything")
        return Load(streams, not_reading, cpu, megabytes, delays, sum(browser.lost for browser in reading))


def _delays(browser: Browser, written: list[tuple[float, int]]) -> Iterator[float]:
    """Seconds from each lot of reports to when the browser heard of it; infinite if it never did."""
    counts = [hashes for _, hashes in browser.heard]
    for at, hashes in written:
        position = bisect.bisect_left(counts, hashes)
        yield max(0.0, browser.heard[position][0] - at) if position < len(counts) else float("inf")


def lines(loads: list[Load]) -> Iterator[str]:
    """The table."""
    yield f"Pages open at once, {WORKERS} workers reporting"
    yield f"{'streams':>8}{'not reading':>13}{'CPU':>8}{'MB':>8}{'p50 s':>9}{'p99 s':>9}{'most s':>9}{'lost':>6}"
    for load in loads:
        quantiles = "".join(f"{load.delay(part):>9.3f}" for part in (0.5, 0.99, 1))
        yield f"{load.streams:>8}{load.not_reading:>13}{load.cpu:>8.2f}{load.megabytes:>8.0f}{quantiles}{load.lost:>6}"


def bounds(loads: list[Load]) -> list[Bound]:
    """What is held to."""
    return [
        bound
        for load in loads
        for bound in (
            AtMost(f"{load.not_reading} not reading: CPU, cores", load.cpu, MOST_CPU),
            AtMost(f"{load.not_reading} not reading: memory, MB", load.megabytes, MOST_MEGABYTES),
            AtMost(f"{load.not_reading} not reading: p99 from Redis to a browser, s", load.delay(0.99), MOST_DELAY_P99),
            AtMost(f"{load.not_reading} not reading: most from Redis to a browser, s", load.delay(1), MOST_DELAY),
            AtMost(f"{load.not_reading} not reading: streams lost of those that read", load.lost, 0),
        )
    ]
