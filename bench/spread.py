import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """What a figure was in several runs."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def noise(self) -> float:
        """Twice the standard error of the mean: 19 of 20 means are that close to the truth. 0 for a single run."""
        return 2 * statistics.stdev(self.values) / len(self.values) ** 0.5 if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        return f"{digits(self.median)} ({digits(min(self.values))}-{digits(max(self.values))})"


def digits(value: float) -> str:
    """Three digits that count, or all of a larger number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
