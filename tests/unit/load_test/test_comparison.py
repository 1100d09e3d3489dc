import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.load_test_reports import measurement, point, report

from chassis.ratio import Verdict, ratio
from load_test.__main__ import main
from load_test.comparison import Comparison, compare

MARGIN = 0.05

Runs = Callable[[random.Random, int], list[float]]


def noisy(deviation: float) -> Runs:
    return lambda chance, runs: [math.exp(chance.gauss(0, deviation)) for _ in range(runs)]


def bimodal(chance: random.Random, runs: int) -> list[float]:
    """A third of the runs are slower by 30 %."""
    return [(0.7 if chance.random() < 1 / 3 else 1) * noise for noise in noisy(0.01)(chance, runs)]


def drifting(chance: random.Random, runs: int) -> list[float]:
    """The machine becomes slower by 20 % from the first run to the last."""
    return [math.exp(-0.2 * index / (runs - 1)) * noise for index, noise in enumerate(noisy(0.01)(chance, runs))]


def with_outlier(chance: random.Random, runs: int) -> list[float]:
    """One run has a third of the speed."""
    values = noisy(0.01)(chance, runs)
    values[chance.randrange(runs)] /= 3
    return values


DISTRIBUTIONS = {
    "1 % of noise": noisy(0.01),
    "20 % of noise": noisy(0.2),
    "bimodal": bimodal,
    "drifting": drifting,
    "with an outlier": with_outlier,
}
SIMULATIONS = 800


def simulate(before: Runs, after: Runs, factor: float, runs: int) -> Counter[Verdict]:
    """Count the verdicts on many pairs of reports, of which the second one's speeds are lower by a factor."""
    chance = random.Random(f"{factor} {runs}")
    verdicts: Counter[Verdict] = Counter()
    for _ in range(SIMULATIONS):
        found = ratio(before(chance, runs), [factor * speed for speed in after(chance, runs)], MARGIN)
        assert found
        verdicts[found.verdict] += 1
    return verdicts


def at_most(part: float) -> float:
    """The largest count that simulations with this rate have, but for one in a thousand: three standard deviations."""
    return SIMULATIONS * part + 3 * math.sqrt(SIMULATIONS * part * (1 - part))


@pytest.mark.parametrize("runs", [3, 5, 6, 10])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_verdict_is_wrong_as_rarely_as_the_help_says(distribution: str, runs: int) -> None:
    draw = DISTRIBUTIONS[distribution]
    equal = simulate(draw, draw, 1.0, runs)
    assert equal[Verdict.FASTER] + equal[Verdict.SLOWER] <= at_most(0.05)
    by_the_margin = simulate(draw, draw, 1 - MARGIN, runs)
    assert by_the_margin[Verdict.FASTER] <= at_most(0.025)
    if draw is not bimodal:
        assert by_the_margin[Verdict.NO_CHANGE] <= at_most(0.025)
    quarter = simulate(draw, draw, 0.25, runs)
    assert not quarter[Verdict.FASTER]
    assert not quarter[Verdict.NO_CHANGE]


def test_what_is_clear_has_a_verdict() -> None:
    quiet = noisy(0.01)
    assert simulate(quiet, quiet, 1, 3)[Verdict.NO_CHANGE] > 0.85 * SIMULATIONS
    assert simulate(quiet, quiet, 0.95, 3)[Verdict.SLOWER] > 0.85 * SIMULATIONS
    assert simulate(noisy(0.2), noisy(0.2), 0.25, 3)[Verdict.SLOWER] > 0.99 * SIMULATIONS
    for runs, factor, verdict in ((6, 1, Verdict.NO_CHANGE), (6, 0.95, Verdict.SLOWER), (5, 0.25, Verdict.SLOWER)):
        assert simulate(with_outlier, with_outlier, factor, runs)[verdict] > 0.95 * SIMULATIONS


def test_a_mode_that_few_runs_do_not_meet_stays_unseen() -> None:
    """The documentation says so: three runs miss one that a third of the runs have in a quarter of the reports."""
    unseen = simulate(noisy(0.01), bimodal, 1, 3)[Verdict.NO_CHANGE] / SIMULATIONS
    assert unseen == pytest.approx(0.25, abs=0.05)


def compared(before: Sequence[float], now: Sequence[float], *, baseline: Sequence[float] = (2_000,) * 9) -> Comparison:
    earlier = report({point(): [measurement(speed) for speed in before]})
    runs = [measurement(speed, baseline=each) for speed, each in zip(now, baseline, strict=False)]
    return compare(earlier, report({point(): runs}), MARGIN)


def conclusion(comparison: Comparison) -> str:
    (change,) = comparison.changes
    return change.conclusion


QUIET = (1_000, 1_010, 990)


@pytest.mark.parametrize(
    ("before", "now", "verdict", "below", "fails", "open_question"),
    [
        (QUIET, (1_005, 985, 1_012), "no change", 0.9, False, False),
        (QUIET, (700, 710, 690), "slower", 0.9, True, False),
        (QUIET, (700, 710, 690), "slower", 0.5, False, False),
        (QUIET, (920, 930, 890), "slower", 0.9, False, True),
        (QUIET, (900, 700, 1_100), "inconclusive (+13 runs)", 0.9, False, True),
        (QUIET, (890,), "inconclusive (+2 runs)", 0.9, False, True),
        ((76_030, 300, 80_000), (16_677, 15_000, 300), "inconclusive (+57 runs)", 0.9, False, True),
        (QUIET, (0,), "slower", 0.1, True, False),
        (QUIET, (0, 990, 1_000), "inconclusive", 0.1, False, True),
    ],
    ids=["equal", "slower", "allowed", "at the limit", "noise", "one run", "much noise", "stood", "stood once"],
)
def test_a_point_fails_below_a_ratio_unless_that_may_be_noise(
    before: tuple[int, ...], now: tuple[int, ...], verdict: str, below: float, *, fails: bool, open_question: bool
) -> None:
    comparison = compared(before, now)
    assert conclusion(comparison) == verdict
    assert len(comparison.too_slow(below)) == fails
    assert len(comparison.undecided(below)) == open_question


def test_the_further_runs_that_are_proposed_decide_more_often_than_not() -> None:
    chance, draw = random.Random(1), noisy(0.03)
    decided = []
    for _ in range(SIMULATIONS):
        before, now = draw(chance, 3), draw(chance, 3)
        found = ratio(before, now, MARGIN)
        if found and found.missing_runs:
            more = ratio(before + draw(chance, found.missing_runs), now + draw(chance, found.missing_runs), MARGIN)
            decided.append(more and more.verdict is not Verdict.INCONCLUSIVE)
    assert sum(map(bool, decided)) / len(decided) > 0.5
    scattered = ratio((1, 1_000, 1_000_000), (1, 1_100, 1_000_000), MARGIN)
    assert scattered
    assert scattered.missing_runs is None


def test_a_machine_that_has_become_slower_itself_is_no_slower_program() -> None:
    slower = (700, 710, 690)
    assert conclusion(compared(QUIET, slower, baseline=(1_400, 1_420, 1_380))) == "inconclusive (machine changed)"
    assert conclusion(compared(QUIET, (70, 71, 69), baseline=(1_400, 1_420, 1_380))) == "slower"
    assert conclusion(compared(QUIET, slower, baseline=(2_000, 2_020, 1_980))) == "slower"


def test_with_a_rate_latency_decides() -> None:
    paced = point(rate="1000")
    before = report({paced: [measurement(p99=p99) for p99 in (0.010, 0.011, 0.0105)]})
    now = report({paced: [measurement(p99=p99) for p99 in (0.020, 0.021, 0.022)]})
    comparison = compare(before, now, MARGIN)
    assert conclusion(comparison) == "slower"
    assert comparison.too_slow(0.9)


def test_only_points_that_both_have_are_compared_and_another_machine_is_mentioned() -> None:
    before = report({point(): [measurement(), measurement()]})
    machine = {**before.machine, "cores": 8, "load_before": 7.0}
    now = report({point(): [measurement(), measurement()], point(1): [measurement()]}, machine=machine)
    comparison = compare(before, now, MARGIN)
    assert [change.now.point for change in comparison.changes] == [point()]
    assert set(comparison.differences) == {
        "points only in the earlier report: 0, only in this one: 1",
        "not as it was: machine cores: 2, now 8",
    }


def test_the_interval_is_that_of_welch() -> None:
    """By hand: variances 0.01 and 0.0025 of 3 runs each make 2.9 degrees of freedom, rounded down, so t is 4.303."""
    before = [math.exp(value) for value in (0.0, 0.1, -0.1)]
    after = [math.exp(value) for value in (0.1, 0.15, 0.05)]
    found = ratio(before, after, MARGIN)
    assert found
    width = 4.303 * math.sqrt(0.01 / 3 + 0.0025 / 3)
    assert math.log(found.value) == pytest.approx(0.1)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((0.1 - width, 0.1 + width))
    assert "(?)" in str(ratio([100, 101, 102], [90, 91], MARGIN))


def test_with_many_runs_the_means_are_trimmed_as_yuen_does() -> None:
    """By hand: of six, four are kept; the winsorized variance times 5 over 4 times 3 is the squared error."""
    before = [math.exp(value) for value in (-9.0, 0.1, -0.1, 0.1, -0.1, 9.0)]
    found = ratio(before, [1.0] * 6, MARGIN)
    assert found
    width = 3.182 * math.sqrt(5 * 0.012 / 12)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((-width, width))


@pytest.mark.parametrize(
    ("speeds", "words", "exit_code", "line"),
    [
        ((700, 710, 690), "--fail-below 0.9 --strict", 1, "slower than 0.9 of the earlier report"),
        ((995, 1_005, 1_000), "--fail-below 0.9 --strict", 0, ""),
        ((900, 700, 1_100), "--fail-below 0.9 --strict", 3, "inconclusive (+13 runs), below 0.9"),
        ((900, 700, 1_100), "--fail-below 0.9", 0, "inconclusive (+13 runs), below 0.9"),
        ((700, 710, 690), "", 0, ""),
    ],
)
def test_the_exit_code_says_which_verdict_fails(
    speeds: Sequence[int], words: str, exit_code: int, line: str, *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {}
    for name, each in (("--compare", QUIET), ("--read", speeds)):
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(report({point(): [measurement(speed) for speed in each]}).to_json())
    arguments = [str(each) for pair in files.items() for each in pair]
    assert main([*arguments, *words.split()]) == exit_code
    out, err = capsys.readouterr()
    assert "Changes" in out
    assert err.startswith(f"load-test: {line}" if line else "")
    assert bool(err) == bool(line)
