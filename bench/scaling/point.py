"""A point to be predicted and measured, and how near the prediction was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.bound import AtMost, Bound
from bench.scaling.model import Prediction

MOST_OFF = 0.1
"""Part of what was measured that a prediction is off at most."""


@dataclass
class Point:
    """One, with all its rounds."""

    name: str
    predicted: list[Prediction] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    """Hashes a second."""

    @property
    def ratios(self) -> list[float]:
        """Predicted to measured, by round."""
        return [prediction.speed / speed for prediction, speed in zip(self.predicted, self.measured, strict=True)]

    @property
    def limit(self) -> str:
        """What the model says limits it, in most rounds."""
        limits = [prediction.limit for prediction in self.predicted]
        return max(limits, key=limits.count)


def lines(points: Sequence[Point]) -> Iterator[str]:
    """The table."""
    yield (
        f"{'system':<46} {'predicted':>11} {'measured':>11} {'predicted/measured':>19}  {'limit':<22} "
        f"{'within 10 %':>11}"
    )
    for each in points:
        ratio = median(each.ratios)
        yield (
            f"{each.name:<46} {_digits(median(guess.speed for guess in each.predicted)):>11} "
            f"{_digits(median(each.measured)):>11} {_ratios(each.ratios):>19}  {each.limit:<22} "
            f"{'yes' if abs(ratio - 1) <= MOST_OFF else 'NO':>11}"
        )


def bounds(points: Sequence[Point]) -> list[Bound]:
    """That each is near, in its median, as the table says; how noisy that is excuses nothing."""
    return [AtMost(f"{each.name}, off by", abs(median(each.ratios) - 1), MOST_OFF) for each in points]


def _digits(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.2f}"


def _ratios(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
