"""The changes since an earlier report, and whether they are more than noise.

Welch's t-test (B. L. Welch, "The generalization of Student's problem when several different population variances are
involved", Biometrika 34, 1947) on the logarithms gives an interval of the ratio. Intervals rather than verdicts alone:
Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from load_test.measurement import TOTAL, Measurement
from load_test.report import Report, Result

# Student's t for 95 %, two-sided, by whole degrees of freedom from 1; the last one serves for all beyond and is there
# at most 6 % too large.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two sets' geometric means, with its 95 % interval, which is the ratio itself for single runs."""

    value: float
    low: float
    high: float
    noise_known: bool

    @property
    def changed(self) -> bool:
        """Whether it differs from 1 by more than the noise, as far as that is known."""
        return not self.low <= 1 <= self.high

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})" if self.noise_known else f"{self.value:.3f} (?)"


def welch(before: Sequence[float], after: Sequence[float]) -> Ratio | None:
    """Return the ratio of after to before; None unless all values are positive."""
    if min(*before, *after) <= 0:
        return None
    logarithms = [[math.log(value) for value in values] for values in (before, after)]
    middle = fmean(logarithms[1]) - fmean(logarithms[0])
    if min(len(before), len(after)) == 1:
        value = math.exp(middle)
        return Ratio(value, value, value, noise_known=False)
    parts = [variance(values) / len(values) for values in logarithms]
    margin = 0.0
    if error := math.sqrt(sum(parts)):
        # Degrees of freedom by Welch and Satterthwaite, rounded down.
        square_sum = sum(part**2 / (len(values) - 1) for part, values in zip(parts, logarithms, strict=True))
        margin = error * T_975[min(int(sum(parts) ** 2 / square_sum), len(T_975)) - 1]
    return Ratio(math.exp(middle), math.exp(middle - margin), math.exp(middle + margin), noise_known=True)


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

    @property
    def verdict(self) -> str:
        """Judge the speed or, with a rate schedule, which determines the speed, the latency."""
        with_rate = bool(self.now.point.rate)
        decisive = self.p99 if with_rate else self.speed
        if decisive is None:
            return "inconclusive"
        if not decisive.changed:
            return "no change"
        return "faster" if (decisive.value > 1) is not with_rate else "slower"


def compare(earlier: Report, now: Report) -> list[Change]:
    """Return the changes of the points that both reports have, in the order of `now`."""
    known = {result.point: result for result in earlier.points}
    return [_change(known[result.point], result) for result in now.points if result.point in known]


def _change(earlier: Result, now: Result) -> Change:
    def ratio(figure: Callable[[Measurement], float]) -> Ratio | None:
        return welch([figure(run) for run in earlier.runs], [figure(run) for run in now.runs])

    speed, vs_baseline = ratio(lambda run: run.hashes_per_second), ratio(lambda run: run.vs_baseline)
    return Change(earlier, now, speed, vs_baseline, p99=ratio(lambda run: run.latency[TOTAL].p99))


def too_slow(changes: Sequence[Change], minimum: float) -> list[str]:
    """Return a line for each point whose speed is below this part of the earlier one, beyond the noise."""
    return [
        f"slower than {minimum:g} of the earlier speed: {change.now.point}: {change.speed or 0}"
        for change in changes
        if change.speed is None or change.speed.high < minimum
    ]


def differences(earlier: Report, now: Report) -> Iterator[str]:
    """Yield a line for each difference of machine, versions, conditions and points: these limit a comparison."""
    for name in ("machine", "versions", "conditions"):
        then, today = getattr(earlier, name), getattr(now, name)
        for key in sorted((then.keys() | today.keys()) - {"load_before", "notes"}):
            if then.get(key) != today.get(key):
                yield f"not as it was: {name} {key}: {then.get(key)}, now {today.get(key)}"
    if earlier.problem:
        yield f"the earlier report is not complete: {earlier.problem}"
    before, after = ({result.point for result in report.points} for report in (earlier, now))
    if before != after:
        yield f"points only in the earlier report: {len(before - after)}, only in this one: {len(after - before)}"
