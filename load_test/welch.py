"""Whether two sets of runs differ by more than their noise.

Welch's t-test (B. L. Welch, "The generalization of Student's problem when several different population variances are
involved", Biometrika 34, 1947), on the logarithms, so that what it gives is an interval of the ratio. Intervals rather
than verdicts alone: Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
"""Student's t for 95 %, both sides, by whole degrees of freedom from 1; the last serves for all beyond, where it is at
most 6 % too careful."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How two sets of values compare: that of their geometric means, and where it lies with a confidence of 95 %."""

    value: float
    low: float
    high: float
    """Equal to the value where single runs say nothing of the noise."""
    noise_known: bool

    @property
    def changed(self) -> bool:
        """Whether it differs from 1 by more than the noise, as far as that is known."""
        return not self.low <= 1 <= self.high

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})" if self.noise_known else f"{self.value:.3f} (?)"


def ratio(before: Sequence[float], after: Sequence[float]) -> Ratio | None:
    """After over before; None unless all are more than 0."""
    if min(*before, *after) <= 0:
        return None
    logarithms = [[math.log(value) for value in values] for values in (before, after)]
    middle = fmean(logarithms[1]) - fmean(logarithms[0])
    if min(len(before), len(after)) == 1:
        value = math.exp(middle)
        return Ratio(value, value, value, noise_known=False)
    parts = [variance(values) / len(values) for values in logarithms]
    error = math.sqrt(sum(parts))
    margin = error * T_975[min(_degrees_of_freedom(parts, logarithms), len(T_975)) - 1] if error else 0.0
    return Ratio(math.exp(middle), math.exp(middle - margin), math.exp(middle + margin), noise_known=True)


def _degrees_of_freedom(parts: Sequence[float], values: Sequence[Sequence[float]]) -> int:
    """By Welch and Satterthwaite, rounded down."""
    return int(sum(parts) ** 2 / sum(part**2 / (len(each) - 1) for part, each in zip(parts, values, strict=True)))
