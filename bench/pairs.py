"""Pairs of runs of two systems, this one and another one, and the ratios of their figures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import NamedTuple, TypeVar

from bench.figures import digits, table
from bench.system import Run
from chassis.ratio import Verdict, ratio

# A ratio that differs from 1 by less is no change.
MARGIN = 0.03

System = TypeVar("System")
Measured = TypeVar("Measured")


class Kind(Enum):
    """What a figure is. The value is the verdict on less of it, and on more."""

    TIME = ("faster", "slower")
    SPEED = ("slower", "faster")
    MEMORY = ("smaller", "larger")


class Figure(NamedTuple):
    """What is compared; the name has the unit."""

    name: str
    kind: Kind


# The figures of one system in one run, and those of a pair: this system's and the other one's.
Sample = Mapping[Figure, float]
Pair = tuple[Sample, Sample]


def cpu_and_speed(run: Run, prefix: str = "") -> dict[Figure, float]:
    """Return the two figures of a run at full pace."""
    return {
        Figure(f"{prefix}CPU per hash, ns", Kind.TIME): run.cpu_per_hash_ns,
        Figure(f"{prefix}hashes/s", Kind.SPEED): run.speed,
    }


def ratios(figure: Figure, pairs: Sequence[Pair]) -> list[float]:
    """Return the ratio of one figure in each pair, of this system to the other one."""
    return [this[figure] / that[figure] for this, that in pairs]


def lines(title: str, names: tuple[str, str], pairs: Sequence[Pair]) -> list[str]:
    """Return the table of the ratios of all figures; the names are those of the two systems."""
    rows = []
    for figure in pairs[0][0]:
        medians = [digits(statistics.median(pair[system][figure] for pair in pairs)) for system in (0, 1)]
        # What is the same in both systems of a pair cancels out in its ratio, which is compared with 1.
        compared = ratio([1.0] * len(pairs), ratios(figure, pairs), MARGIN)
        verdict = "inconclusive"
        if compared is not None:
            words = {Verdict.SLOWER: figure.kind.value[0], Verdict.FASTER: figure.kind.value[1]}
            verdict = words.get(compared.verdict, compared.verdict)
        rows.append([figure.name, *medians, str(compared or ""), verdict])
    return table(f"{title}, medians of {len(pairs)} pairs", ["", *names, "ratio (95 % interval)", "verdict"], rows)


def order(number: int) -> tuple[int, int]:
    """Return which system is first and which is second in a pair: ABBA, since the machine's speed drifts."""
    return (0, 1) if number % 2 == 0 else (1, 0)


def at_once(
    measure: Callable[[System], Measured], systems: tuple[System, System], number: int
) -> tuple[Measured, Measured]:
    """Measure both systems at the same time: what disturbs one disturbs the other."""
    first, second = order(number)
    with ThreadPoolExecutor(2) as both:
        measured = dict(zip((first, second), both.map(measure, (systems[first], systems[second])), strict=True))
    return measured[0], measured[1]
