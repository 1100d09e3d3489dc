import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.load_test.latency import UNIT, Histogram

latencies = st.lists(st.floats(0, 3_600), min_size=1, max_size=200)


@given(latencies, st.floats(0, 1))
def test_a_quantile_is_right_to_a_tenth_of_a_percent(values: list[float], part: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    exact = sorted(values)[max(math.ceil(part * len(values)), 1) - 1]
    assert histogram.quantile(part) == pytest.approx(exact, rel=1e-3, abs=2 * UNIT)


@given(latencies)
def test_the_largest_is_exact_and_no_quantile_exceeds_it(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    quantiles = histogram.quantiles()
    assert quantiles.max == max(values)
    assert quantiles.p50 <= quantiles.p90 <= quantiles.p99 <= quantiles.p999 <= quantiles.max


def test_several_alike_count_as_often() -> None:
    histogram = Histogram()
    histogram.record(0.001, 99)
    histogram.record(5.0)
    assert histogram.total == 100
    assert histogram.quantile(0.99) == pytest.approx(0.001)
    assert histogram.quantile(0.999) == pytest.approx(5, rel=1e-3)


def test_room_is_bounded() -> None:
    histogram = Histogram()
    for step in range(100_000):
        histogram.record(step * 1.1e-4)
    assert len(histogram._counts) < 25_000


def test_nothing_recorded_is_nothing_said() -> None:
    assert Histogram().quantiles().p999 == 0
