"""The changes since an earlier report, and a verdict on each.

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean, variance

from load_test.measurement import TOTAL, Measurement
from load_test.report import Report, Result

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


@dataclass(frozen=True)
class Change:
    """One point in both reports, with the ratios now over earlier, None where one of them is 0."""

    earlier: Result
    now: Result
    speed: Ratio | None
    # Independent of the machine's own speed, if that differs.
    vs_baseline: Ratio | None
    # Of the total latency.
    p99: Ratio | None
    # What is judged: of the speed, or of 1 / p99 with a rate schedule, which determines the speed. Where the machine's
    # own speed has changed, the interval contains that of the speed and that of the speed vs. baseline.
    decisive: Ratio | None
    machine_changed: bool

    @property
    def verdict(self) -> Verdict:
        """Judge the change."""
        return self.decisive.verdict if self.decisive else Verdict.INCONCLUSIVE

    @property
    def conclusion(self) -> str:
        """The verdict and, where it is inconclusive, what would decide."""
        if self.verdict is not Verdict.INCONCLUSIVE or self.decisive is None:
            return self.verdict
        if self.machine_changed:
            return f"{self.verdict} (machine changed)"
        missing = self.decisive.missing_runs
        return f"{self.verdict} (+{missing or MAX_RUNS} run{'' if missing == 1 else 's' if missing else 's or more'})"


def compare(earlier: Report, now: Report, margin: float) -> list[Change]:
    """Return the changes, judged with this margin, of the points that both reports have, in the order of `now`."""
    known = {result.point: result for result in earlier.points}
    return [_change(known[result.point], result, margin) for result in now.points if result.point in known]


def _change(earlier: Result, now: Result, margin: float) -> Change:
    def of(figure: Callable[[Measurement], float]) -> Ratio | None:
        return ratio([figure(run) for run in earlier.runs], [figure(run) for run in now.runs], margin)

    speed, vs_baseline = of(lambda run: run.hashes_per_second), of(lambda run: run.vs_baseline)
    p99, baseline = of(lambda run: run.latency[TOTAL].p99), of(lambda run: run.baseline_hashes_per_second)
    decisive, machine_changed = speed, False
    if now.point.rate:
        before, after = ([run.latency[TOTAL].p99 for run in each.runs] for each in (now, earlier))
        decisive = ratio(before, after, margin)
    elif speed and vs_baseline and baseline and baseline.verdict in {Verdict.FASTER, Verdict.SLOWER}:
        machine_changed = True
        low, high = min(speed.low, vs_baseline.low), max(speed.high, vs_baseline.high)
        decisive = replace(speed, low=low, high=high, missing_runs=None)
    return Change(earlier, now, speed, vs_baseline, p99, decisive, machine_changed)


def too_slow(changes: Sequence[Change], minimum: float) -> list[str]:
    """Return a line for each point that is surely below this part of the earlier speed (or 1 / p99, with a rate)."""
    slow = (change for change in changes if change.decisive and change.decisive.high < minimum)
    return [f"slower than {minimum:g} of the earlier report: {each.now.point}: {each.decisive}" for each in slow]


def undecided(changes: Sequence[Change], minimum: float) -> list[str]:
    """Return a line for each point without a verdict, or that may be below this part of the earlier speed or not."""
    return [
        f"{change.conclusion}, below {minimum:g} of the earlier report or not: {change.now.point}: {change.decisive}"
        for change in changes
        if (
            change.decisive is None
            or change.verdict is Verdict.INCONCLUSIVE
            or change.decisive.low < minimum <= change.decisive.high
        )
    ]


def differences(earlier: Report, now: Report) -> Iterator[str]:
    """Yield a line for each difference of machine, versions, conditions and points: these limit a comparison."""
    for name in ("machine", "versions", "conditions"):
        then, today = getattr(earlier, name), getattr(now, name)
        for key in sorted(
            (then.keys() | today.keys())
            - {"load_before", "steal_percent", "throttled_seconds", "thermal_throttles", "notes"}
        ):
            if then.get(key) != today.get(key):
                yield f"not as it was: {name} {key}: {then.get(key)}, now {today.get(key)}"
    if earlier.problem:
        yield f"the earlier report is not complete: {earlier.problem}"
    before, after = ({result.point for result in report.points} for report in (earlier, now))
    if before != after:
        yield f"points only in the earlier report: {len(before - after)}, only in this one: {len(after - before)}"
