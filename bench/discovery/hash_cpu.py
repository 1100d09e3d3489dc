"""What it costs at full pace that streams are renewed: CPU a hash, of rng, hasher and worker together.

Workers whose streams live 1.8 s and workers whose streams live for ever take turns on the same rng and hasher, so that
a machine whose speed drifts favours none of them.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import progress
from bench.discovery.bound import Bound
from bench.system import Servers, servers

SECONDS = 4
"""What one worker is measured for: whole reports, one a second."""

GENERATIONS = ("1.8", "3600")
"""Seconds: the default, and longer than any measurement."""

MOST_MORE = 1.03
"""Times the CPU a hash."""


@dataclass(frozen=True)
class Outcome:
    """One worker's turn."""

    hashes: int
    cpu: float
    """Seconds, of all three processes."""

    @property
    def a_million(self) -> float:
        """CPU seconds a million hashes."""
        return self.cpu / self.hashes * 1e6


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _turn(running: Servers, generation: str) -> Outcome:
    with running.worker({"GENERATION": generation}) as worker:
        processes = [*running.processes.values(), worker]
        # The first report is of warming up, and so is the second.
        last, _ = running.next_report(running.last_report())
        # A report leaves as soon as its last batch is counted, so this is when its interval ends.
        before = _cpu(processes)
        hashes = 0
        for _ in range(SECONDS):
            last, report = running.next_report(last)
            hashes += int(report["hashes"])
        return Outcome(hashes, _cpu(processes) - before)


def measure(pairs: int, folder: Path) -> list[tuple[Outcome, ...]]:
    """Pairs of turns, one for each generation. Raises BenchError when a service does not do its work."""
    results = []
    with servers(folder, {"PACE": "full"}) as running:
        for number in range(pairs):
            progress.show(f"CPU a hash: pair {number + 1} of {pairs}")
            # Who goes first takes turns, too.
            order = GENERATIONS if number % 2 else GENERATIONS[::-1]
            turns = {generation: _turn(running, generation) for generation in order}
            results.append(tuple(turns[generation] for generation in GENERATIONS))
    progress.show("")
    return results


def _ratios(results: list[tuple[Outcome, ...]]) -> list[float]:
    return [renewed.a_million / kept.a_million for renewed, kept in results]


def lines(results: list[tuple[Outcome, ...]]) -> Iterator[str]:
    """The table."""
    yield "CPU at full pace, seconds a million hashes, of rng, hasher and worker"
    yield f"{'pair':>7} {'streams live 1.8 s':>19} {'for ever':>9} {'ratio':>7} {'million hashes/s':>17}"
    for number, ((renewed, kept), ratio) in enumerate(zip(results, _ratios(results), strict=True), 1):
        speeds = f"{renewed.hashes / SECONDS / 1e6:.2f} {kept.hashes / SECONDS / 1e6:.2f}"
        yield f"{number:>7} {renewed.a_million:>19.3f} {kept.a_million:>9.3f} {ratio:>7.3f} {speeds:>17}"


def bounds(results: list[tuple[Outcome, ...]]) -> list[Bound]:
    """What renewing streams is held to."""
    ratios = _ratios(results)
    # Twice the standard error of the mean: 19 of 20 means are that close to the truth.
    noise = 2 * statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    return [Bound("CPU a hash, times that of streams that live for ever", statistics.mean(ratios), MOST_MORE, noise)]
