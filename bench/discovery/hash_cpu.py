"""What it costs at full pace that streams are renewed: CPU a hash, of rng, hasher and worker together.

Workers whose streams live 1.8 s and workers whose streams live for ever take turns on the same rng and hasher, so that
a machine whose speed drifts favours none of them.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

from bench import progress
from bench.bound import AtMost, Bound
from bench.spread import Spread
from bench.system import servers
from bench.turn import Turn, take_turn

SECONDS = 4
"""What one worker is measured for: whole reports, one a second."""

GENERATIONS = ("1.8", "3600")
"""Seconds: the default, and longer than any measurement."""

MOST_MORE = 1.03
"""Times the CPU a hash."""


def measure(pairs: int, folder: Path) -> list[tuple[Turn, ...]]:
    """Pairs of turns, one for each generation. Raises BenchError when a service does not do its work."""
    results = []
    with servers(folder, {"PACE": "full"}) as running:
        for number in range(pairs):
            progress.show(f"CPU a hash: pair {number + 1} of {pairs}")
            # Who goes first takes turns, too.
            order = GENERATIONS if number % 2 else GENERATIONS[::-1]
            turns = {each: take_turn(running, {"GENERATION": each}, SECONDS) for each in order}
            results.append(tuple(turns[generation] for generation in GENERATIONS))
    progress.show("")
    return results


def _ratios(results: list[tuple[Turn, ...]]) -> list[float]:
    return [renewed.cpu_a_million / kept.cpu_a_million for renewed, kept in results]


def lines(results: list[tuple[Turn, ...]]) -> Iterator[str]:
    """The table."""
    yield "CPU at full pace, seconds a million hashes, of rng, hasher and worker"
    yield f"{'pair':>7} {'streams live 1.8 s':>19} {'for ever':>9} {'ratio':>7} {'million hashes/s':>17}"
    for number, ((renewed, kept), ratio) in enumerate(zip(results, _ratios(results), strict=True), 1):
        speeds = f"{renewed.speed / 1e6:.2f} {kept.speed / 1e6:.2f}"
        yield f"{number:>7} {renewed.cpu_a_million:>19.3f} {kept.cpu_a_million:>9.3f} {ratio:>7.3f} {speeds:>17}"


def bounds(results: list[tuple[Turn, ...]]) -> list[Bound]:
    """What renewing streams is held to."""
    ratios = _ratios(results)
    mean, noise = statistics.mean(ratios), Spread(ratios).noise
    return [AtMost("CPU a hash, times that of streams that live for ever", mean, MOST_MORE, noise)]
