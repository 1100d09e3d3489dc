"""What changed since an earlier report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from load_test import welch
from load_test.grid import Grid, lead
from load_test.measurement import Measurement
from load_test.recorder import TOTAL
from load_test.report import Report, Result
from load_test.welch import Ratio

CAPTION = (
    "Ratios now over earlier, of the runs' geometric means, with the 95 % interval of Welch's t-test; (?): single "
    "runs, so their noise is unknown. One in twenty points that did not change is said to have."
)

_PASSING = {"load_before", "remarks"}
"""What differs without making a difference."""


@dataclass(frozen=True)
class Change:
    """One point, then and now."""

    earlier: Result
    now: Result
    speed: Ratio | None
    """Of hashes/s; None where one of them is 0."""
    of_loop: Ratio | None
    """Of the ratios to the in-process loop: what is left when the machine's own speed differs."""
    p99: Ratio | None
    """Of the latency in total."""


def compare(earlier: Report, now: Report) -> list[Change]:
    """The points that both have, in the order of now."""
    known = {result.point: result for result in earlier.results}
    return [_change(known[result.point], result) for result in now.results if result.point in known]


def _change(earlier: Result, now: Result) -> Change:
    def ratio(figure: Callable[[Measurement], float]) -> Ratio | None:
        return welch.ratio(*([figure(run) for run in result.runs] for result in (earlier, now)))

    return Change(
        earlier,
        now,
        speed=ratio(lambda run: run.hashes_per_second),
        of_loop=ratio(lambda run: run.of_loop),
        p99=ratio(lambda run: run.latency[TOTAL].p99),
    )


def grid(changes: Sequence[Change]) -> Grid:
    """A table of them."""
    columns = lead([change.now for change in changes])
    headers = ["earlier\nhashes/s", "now\nhashes/s", "speed", "speed\nof loop", "p99 of\na batch", "so it is"]
    rows = [
        [
            *(show(change.now) for _, show in columns),
            *(f"{result.summary.hashes_per_second.median:,.0f}" for result in (change.earlier, change.now)),
            *("-" if each is None else str(each) for each in (change.speed, change.of_loop, change.p99)),
            verdict(change),
        ]
        for change in changes
    ]
    return Grid("Changes", [*(header for header, _ in columns), *headers], rows, CAPTION)


def verdict(change: Change) -> str:
    """In a word: of the speed; with a rate schedule, which decides the speed, of the latency."""
    by_rate = bool(change.now.point.rate)
    decisive = change.p99 if by_rate else change.speed
    if decisive is None:
        return "not comparable"
    if not decisive.changed:
        return "the same"
    better = decisive.value < 1 if by_rate else decisive.value > 1
    kind = ("quicker", "later") if by_rate else ("faster", "slower")
    return kind[0] if better else kind[1]


def too_slow(changes: Sequence[Change], least: float) -> list[str]:
    """Those whose speed is surely below this part of the earlier, a line each."""
    return [
        f"slower than {least:g} of the earlier speed: {change.now.point}: {change.speed or 0}"
        for change in changes
        if change.speed is None or change.speed.high < least
    ]


def differences(earlier: Report, now: Report) -> Iterator[str]:
    """What else is not as it was, one line each: a comparison says little across machines."""
    for name in ("machine", "versions", "conditions"):
        then, today = getattr(earlier, name), getattr(now, name)
        for key in sorted((then.keys() | today.keys()) - _PASSING):
            if then.get(key) != today.get(key):
                yield f"not as it was: {name} {key}: {then.get(key)}, now {today.get(key)}"
    if earlier.problem:
        yield f"the earlier report is not complete: {earlier.problem}"
    missing = len({result.point for result in earlier.results} - {result.point for result in now.results})
    added = len({result.point for result in now.results} - {result.point for result in earlier.results})
    if missing or added:
        yield f"points only in the earlier report: {missing}, only in this one: {added}"
