"""How a figure of this tree compares with that of another one, and how sure that is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

CONFIDENCE = 0.95
"""The part of all intervals that hold the true ratio. It takes six pairs to be that sure of anything."""

SAME = 0.03
"""A ratio that differs from 1 by less is no change."""


class Kind(Enum):
    """What is compared. The value is the verdict on less of it, and the one on more."""

    CPU = ("faster", "slower")
    SPEED = ("slower", "faster")
    MEMORY = ("smaller", "larger")


@dataclass(frozen=True)
class Ratio:
    """The figure of this tree over that of the other one, in pairs of runs."""

    kind: Kind
    pairs: Sequence[tuple[float, float]]
    """Each is this tree's figure and the other one's."""

    @property
    def _ratios(self) -> list[float]:
        return sorted(this / that for this, that in self.pairs)

    @property
    def median(self) -> float:
        """The median of the pairs' ratios, so that a pair that something disturbed counts for little."""
        return statistics.median(self._ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds of the true median with CONFIDENCE; with too few pairs for that, the least and the largest ratio.

        They are order statistics, which assume nothing of how ratios are distributed
        (https://online.stat.psu.edu/stat415/lesson/19/19.1).
        """
        ratios = self._ratios
        rank = self._rank or 1
        return ratios[rank - 1], ratios[-rank]

    @property
    def _rank(self) -> int:
        """Which one from either end the bounds are, from 1; 0 with too few pairs."""
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
