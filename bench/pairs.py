"""Pairs of runs of two systems, this one and another one, and the ratios of their figures."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeVar

from bench.figures import Spread, digits, table
from bench.system import Run

# The part of all intervals that hold the true ratio. It takes six pairs to be that sure of anything.
CONFIDENCE = 0.95

# A ratio that differs from 1 by less is no change.
SAME = 0.03

System = TypeVar("System")
Measured = TypeVar("Measured")


class Kind(Enum):
    """What a figure is. The value is the verdict on less of it, and the one on more."""

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


@dataclass(frozen=True)
class Ratio:
    """A figure of this system over that of the other one, in pairs of runs."""

    kind: Kind
    pairs: Sequence[tuple[float, float]]

    @property
    def values(self) -> list[float]:
        """The ratio of each pair, sorted."""
        return sorted(this / that for this, that in self.pairs)

    @property
    def median(self) -> float:
        """The median of the pairs' ratios, so that a disturbed pair counts for little."""
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds of the true median with CONFIDENCE; with too few pairs for that, the least and the largest ratio.

        They are order statistics, which assume nothing about the distribution of ratios
        (https://online.stat.psu.edu/stat415/lesson/19/19.1).
        """
        rank = self._rank or 1
        return self.values[rank - 1], self.values[-rank]

    @property
    def _rank(self) -> int:
        """The position of the bounds from either end, from 1; 0 with too few pairs."""
        count = len(self.pairs)
        rank, outside = 0, 2 / 2**count
        while outside <= 1 - CONFIDENCE:
            rank += 1
            outside += 2 * math.comb(count, rank) / 2**count
        return rank

    @property
    def verdict(self) -> str:
        """What the interval says; a difference of less than SAME is never called one."""
        low, high = self.interval
        less, more = self.kind.value
        if self._rank == 0:
            return "inconclusive"
        if low >= 1 - SAME and high <= 1 + SAME:
            return "no change"
        if high < 1 and self.median < 1 - SAME:
            return less
        return more if low > 1 and self.median > 1 + SAME else "inconclusive"


def cpu_and_speed(run: Run, prefix: str = "") -> dict[Figure, float]:
    """Return the two figures of a run at full pace."""
    return {
        Figure(f"{prefix}CPU per hash, ns", Kind.TIME): run.cpu_per_hash_ns,
        Figure(f"{prefix}hashes/s", Kind.SPEED): run.speed,
    }


def ratio(figure: Figure, pairs: Sequence[Pair]) -> Ratio:
    """Return the ratio of one figure."""
    return Ratio(figure.kind, [(this[figure], that[figure]) for this, that in pairs])


def lines(title: str, names: tuple[str, str], pairs: Sequence[Pair]) -> list[str]:
    """Return the table of the ratios of all figures; the names are those of the two systems."""
    rows = []
    for figure in pairs[0][0]:
        compared = ratio(figure, pairs)
        medians = [digits(Spread(column).median) for column in zip(*compared.pairs, strict=True)]
        interval = "{:.3f}-{:.3f}".format(*compared.interval)
        rows.append([figure.name, *medians, f"{compared.median:.3f}", interval, compared.verdict])
    return table(f"{title}, medians of {len(pairs)} pairs", ["", *names, "ratio", "95 % interval", "verdict"], rows)


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
