"""What measured figures show: their spread over runs, the bounds on them, and tables."""

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# With more noise than this part of the limit, a bound can't be judged.
MAX_NOISE = 0.2


@dataclass(frozen=True)
class Spread:
    """A figure over several runs."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median, which one disturbed run changes little."""
        return statistics.median(self.values)

    @property
    def noise(self) -> float:
        """Twice the standard error of the mean: 19 of 20 means are that close to the truth. 0 for a single run."""
        return 2 * statistics.stdev(self.values) / len(self.values) ** 0.5 if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        return f"{digits(self.median)} ({digits(min(self.values))}-{digits(max(self.values))})"


@dataclass(frozen=True)
class Bound:
    """A limit of a figure. The name has the unit; `<=` means at most, `>=` at least."""

    name: str
    figure: Spread
    sign: Literal["<=", ">="]
    limit: float

    @property
    def verdict(self) -> str:
        """Whether the figure is within the limit, or beyond it by no more than noise, which must be small itself."""
        beyond = (self.figure.median - self.limit) * (1 if self.sign == "<=" else -1)
        if beyond <= 0:
            return "held"
        if beyond > self.figure.noise:
            return "not held"
        return "held within noise" if self.figure.noise <= MAX_NOISE * self.limit else "inconclusive"

    def __str__(self) -> str:
        noise = f"+-{self.figure.noise:.3f}" if self.figure.noise else ""
        return (
            f"{self.name:<58} {self.figure.median:>7.3f} {noise:<8} bound {self.sign} {self.limit:<5g} {self.verdict}"
        )


# The lines of a part's tables, and the bounds on its figures.
Report = tuple[list[str], list[Bound]]

# A part measures something, given the arguments of the command and an empty folder.
Part = Callable[[argparse.Namespace, Path], Report]


def digits(value: float) -> str:
    """Format a number with three significant digits, or with all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column is aligned left, the others right."""
    cells = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]
    return [title, *(line.rstrip() for line in lines)]
