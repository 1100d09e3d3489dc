import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.load_test import welch


def test_the_interval_is_that_of_welch() -> None:
    """By hand: variances 0.01 and 0.0025 of 3 runs each make 2.9 degrees of freedom, rounded down, so t is 4.303."""
    before = [math.exp(value) for value in (0.0, 0.1, -0.1)]
    after = [math.exp(value) for value in (0.1, 0.15, 0.05)]
    ratio = welch.ratio(before, after)
    assert ratio is not None
    margin = 4.303 * math.sqrt(0.01 / 3 + 0.0025 / 3)
    assert math.log(ratio.value) == pytest.approx(0.1)
    assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx((0.1 - margin, 0.1 + margin))
    assert not ratio.changed


def test_a_change_beyond_the_noise_is_one() -> None:
    ratio = welch.ratio([100, 101, 99], [80, 81, 79])
    assert ratio is not None
    assert ratio.changed
    assert ratio.low < 0.8 < ratio.high < 0.85


def test_runs_without_noise_have_an_interval_without_width() -> None:
    ratio = welch.ratio([100, 100], [90, 90])
    assert ratio is not None
    assert (ratio.low, ratio.high) == pytest.approx((0.9, 0.9))


def test_a_single_run_says_nothing_of_noise() -> None:
    ratio = welch.ratio([100], [90, 91])
    assert ratio is not None
    assert not ratio.noise_known
    assert "(?)" in str(ratio)


def test_what_stood_still_has_no_ratio() -> None:
    assert welch.ratio([100, 100], [90, 0]) is None


speeds = st.lists(st.floats(1, 1e6), min_size=2, max_size=10)


@given(speeds, speeds)
def test_the_other_way_round_it_is_the_inverse(before: list[float], after: list[float]) -> None:
    ratio, inverse = welch.ratio(before, after), welch.ratio(after, before)
    assert ratio is not None
    assert inverse is not None
    assert math.log(ratio.low) == pytest.approx(-math.log(inverse.high), abs=1e-9)
    assert ratio.low <= ratio.value <= ratio.high
