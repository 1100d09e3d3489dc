"""The changes since an earlier report, and a verdict on each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from chassis.ratio import MAX_RUNS, Ratio, Verdict, ratio
from load_test.measurement import TOTAL, Measurement
from load_test.report import Report, Result


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


@dataclass(frozen=True)
class Comparison:
    """The changes of the points that two reports have, judged with a margin, and what limits the comparison."""

    earlier: Report
    changes: Sequence[Change]
    margin: float
    differences: Sequence[str]

    def too_slow(self, minimum: float) -> list[str]:
        """Return a line for each point that is surely below this part of the earlier speed; with a rate, of 1 / p99."""
        slow = (change for change in self.changes if change.decisive and change.decisive.high < minimum)
        return [f"slower than {minimum:g} of the earlier report: {each.now.point}: {each.decisive}" for each in slow]

    def undecided(self, minimum: float) -> list[str]:
        """Return a line for each point without a verdict, or that may be below this part of the earlier speed."""
        return [
            f"{each.conclusion}, below {minimum:g} of the earlier report or not: {each.now.point}: {each.decisive}"
            for each in self.changes
            if each.decisive is None
            or each.verdict is Verdict.INCONCLUSIVE
            or each.decisive.low < minimum <= each.decisive.high
        ]


def compare(earlier: Report, now: Report, margin: float) -> Comparison:
    """Judge the points that both reports have, in the order of `now`."""
    known = {result.point: result for result in earlier.points}
    changes = [_change(known[result.point], result, margin) for result in now.points if result.point in known]
    return Comparison(earlier, changes, margin, list(_differences(earlier, now)))


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


def _differences(earlier: Report, now: Report) -> Iterator[str]:
    """Yield a line for each difference of machine, versions, conditions and points."""
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
