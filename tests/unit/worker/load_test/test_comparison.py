from unit.worker.load_test.made import measurement, point, report

from worker_svc.load_test import comparison

BEFORE = report({point(): [measurement(speed) for speed in (1_000, 1_010, 990)]})


def test_the_same_within_the_noise_is_the_same() -> None:
    now = report({point(): [measurement(speed) for speed in (1_005, 985, 1_012)]})
    (change,) = comparison.compare(BEFORE, now)
    assert comparison.verdict(change) == "the same"
    assert not comparison.too_slow([change], 0.9)


def test_slower_is_slower_and_fails_below_a_ratio() -> None:
    now = report({point(): [measurement(speed) for speed in (700, 710, 690)]})
    changes = comparison.compare(BEFORE, now)
    assert comparison.verdict(changes[0]) == "slower"
    (line,) = comparison.too_slow(changes, 0.9)
    assert line.startswith("slower than 0.9 of the earlier speed: stream, batch 256")
    assert not comparison.too_slow(changes, 0.5)


def test_a_ratio_within_the_noise_of_the_limit_does_not_fail() -> None:
    now = report({point(): [measurement(speed) for speed in (900, 700, 1_100)]})
    assert not comparison.too_slow(comparison.compare(BEFORE, now), 0.95)


def test_single_runs_are_judged_by_their_ratio() -> None:
    before, now = (report({point(): [measurement(speed)]}) for speed in (1_000, 890))
    assert comparison.too_slow(comparison.compare(before, now), 0.9)


def test_what_stood_still_is_too_slow() -> None:
    now = report({point(): [measurement(0), measurement(0)]})
    assert comparison.too_slow(comparison.compare(BEFORE, now), 0.1)


def test_with_a_rate_latency_decides() -> None:
    paced = point(rate="1000")
    before = report({paced: [measurement(p99=p99) for p99 in (0.010, 0.011, 0.0105)]})
    now = report({paced: [measurement(p99=p99) for p99 in (0.020, 0.021, 0.022)]})
    (change,) = comparison.compare(before, now)
    assert comparison.verdict(change) == "later"


def test_only_points_that_both_have_are_compared() -> None:
    now = report({point(): [measurement()], point(1): [measurement()]})
    assert [change.now.point for change in comparison.compare(BEFORE, now)] == [point()]
    assert "points only in the earlier report: 0, only in this one: 1" in list(comparison.differences(BEFORE, now))


def test_another_machine_is_mentioned() -> None:
    now = report({point(): [measurement()]}, machine={**BEFORE.machine, "cores": 8, "load_before": 7.0})
    assert list(comparison.differences(BEFORE, now)) == ["not as it was: machine cores: 2, now 8"]


def test_the_table_has_a_row_a_change() -> None:
    now = report({point(): [measurement(1_000), measurement(1_001)]})
    grid = comparison.grid(comparison.compare(BEFORE, now))
    (row,) = grid.rows
    assert len(row) == len(grid.headers)
    assert row[0] == "256"
    assert row[-1] == "the same"
