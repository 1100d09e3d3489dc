"""Two hashers beside one where the hasher is the limit: it hashes with hashlib."""

from collections.abc import Iterator
from pathlib import Path

from bench import progress
from bench.bound import AtLeast, Bound
from bench.spread import Spread
from bench.system import servers
from bench.turn import take_turn

BATCH_SIZE = 4_096

LEAST_OF_ONE = 1.25

Run = dict[int, float]
"""Hashes a second by the number of hashers."""


def measure(repeats: int, seconds: float, folder: Path) -> list[Run]:
    """One hasher and two in turn. Raises BenchError when a service does not do its work."""
    runs = []
    command = ("-m", "bench.hasher", "hashlib")
    with (
        servers(folder, {"PACE": "full", "BATCH_SIZE": f"{BATCH_SIZE}"}) as running,
        running.further_hasher("hashlib-1", *command) as first,
        running.further_hasher("hashlib-2", *command) as second,
    ):
        targets = {1: f"ipv4:{first}", 2: f"ipv4:{first},{second}"}
        for number in range(repeats):
            progress.show(f"one hasher and two: {number + 1} of {repeats}")
            order = (1, 2) if number % 2 else (2, 1)
            runs.append({each: take_turn(running, {"HASHER_TARGET": targets[each]}, seconds).speed for each in order})
    progress.show("")
    return runs


def _ratio(runs: list[Run]) -> Spread:
    return Spread([run[2] / run[1] for run in runs])


def lines(runs: list[Run]) -> Iterator[str]:
    """The table."""
    one, two = (Spread([run[number] for run in runs]) for number in (1, 2))
    yield f"Hashers that hash with hashlib, batch {BATCH_SIZE:,}: hashes a second"
    yield f"{'one':>30} {'two':>30} {'ratio':>22}"
    yield f"{one!s:>30} {two!s:>30} {_ratio(runs)!s:>22}"


def bounds(runs: list[Run]) -> list[Bound]:
    """What it is held to."""
    ratio = _ratio(runs)
    return [AtLeast("two hashers over one, by hashlib", ratio.median, LEAST_OF_ONE, ratio.noise)]
