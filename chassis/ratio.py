"""A verdict on whether one set of runs is faster than another.

One 95 % interval of the ratio decides: that of Welch's t-test (B. L. Welch, Biometrika 34, 1947) on the logarithms of
the runs, from six runs on with trimmed means (K. K. Yuen, "The two-sample trimmed t for unequal population variances",
Biometrika 61, 1974), so that one disturbed run does not hide everything. An interval within the margin around 1 is an
equivalence test (D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach",
J. Pharmacokinetics and Biopharmaceutics 15, 1987), here at 2.5 % on each side. Intervals rather than verdicts alone:
Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013.

tests/unit/load_test/test_comparison.py simulates how often a verdict is wrong.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean, variance

# Student's t for 95 %, two-sided, by whole degrees of freedom from 1; the last one serves for all beyond and is there
# at most 6 % too large. SciPy has it exactly, and is larger than the whole image.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)

# One run of this number is trimmed at each end. Trimming a fifth, as is usual, starts at five runs, and then bimodal
# speeds would have more wrong verdicts than 5 %.
TRIMMED_OF = 6

# Two runs often have almost the same speed by chance.
MIN_RUNS = 3

# The largest number of runs that --repeat allows.
MAX_RUNS = 1_000


class Verdict(StrEnum):
    """What an interval says."""

    FASTER = "faster"
    SLOWER = "slower"
    # The whole interval lies within the margin around 1, even if it does not contain 1.
    NO_CHANGE = "no change"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two sets' geometric means, with its 95 % interval, unbounded for fewer than MIN_RUNS runs."""

    value: float
    low: float
    high: float
    # A ratio from 1 - margin to 1 / (1 - margin) is as good as 1.
    margin: float
    # The further runs in each of both sets that would decide, if their noise stays as it is; 0 where it is decided, and
    # None where MAX_RUNS would not.
    missing_runs: int | None = 0

    @property
    def verdict(self) -> Verdict:
        """Judge the interval; higher is faster."""
        if 1 - self.margin <= self.low and self.high <= 1 / (1 - self.margin):
            return Verdict.NO_CHANGE
        if self.low <= 1 <= self.high:
            return Verdict.INCONCLUSIVE
        return Verdict.FASTER if self.low > 1 else Verdict.SLOWER

    def __str__(self) -> str:
        return (
            f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})" if self.high < math.inf else f"{self.value:.3f} (?)"
        )


def ratio(before: Sequence[float], after: Sequence[float], margin: float) -> Ratio | None:
    """Return the ratio of after to before, to be judged with this margin (0.05 is 5 %); None if some of them are 0."""
    if all(before) and not any(after):
        return Ratio(0.0, 0.0, 0.0, margin)
    if not all((*before, *after)):
        return None
    sets = [_Trimmed(values) for values in (before, after)]
    middle = sets[1].mean - sets[0].mean
    if min(each.runs for each in sets) < MIN_RUNS:
        return Ratio(math.exp(middle), 0.0, math.inf, margin, max(MIN_RUNS - each.runs for each in sets))

    def with_more(runs: int) -> Ratio:
        parts = [each.squared_error * each.runs / (each.runs + runs) for each in sets]
        half_width = 0.0
        if error := math.sqrt(sum(parts)):
            # Degrees of freedom by Welch and Satterthwaite, rounded down.
            square_sum = sum(part**2 / (each.freedom + runs) for part, each in zip(parts, sets, strict=True))
            half_width = error * T_975[min(int(sum(parts) ** 2 / square_sum), len(T_975)) - 1]
        return Ratio(math.exp(middle), math.exp(middle - half_width), math.exp(middle + half_width), margin)

    def is_decided(runs: int) -> int:
        return with_more(runs).verdict is not Verdict.INCONCLUSIVE

    missing = bisect_left(range(MAX_RUNS), 1, key=is_decided)
    return replace(with_more(0), missing_runs=missing if missing < MAX_RUNS else None)


class _Trimmed:
    """The trimmed mean of a set's logarithms, its squared standard error and the degrees of freedom of that."""

    def __init__(self, values: Sequence[float]) -> None:
        self.runs = len(values)
        logarithms = sorted(math.log(value) for value in values)
        cut = self.runs // TRIMMED_OF
        kept = logarithms[cut : self.runs - cut]
        self.mean = fmean(kept)
        self.freedom = len(kept) - 1
        # What is trimmed counts as the nearest value that is kept.
        winsorized = [*cut * kept[:1], *kept, *cut * kept[-1:]]
        self.squared_error = (
            variance(winsorized) * (self.runs - 1) / (len(kept) * self.freedom) if self.freedom else 0.0
        )
