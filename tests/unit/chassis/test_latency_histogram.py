"""Latencies as Prometheus has them, from buckets that are finer."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from chassis.latency_buckets import BOUNDS
from chassis.telemetry.latency_histogram import LatencyHistogram

LATENCIES = st.lists(st.floats(0, 2_000) | st.sampled_from(BOUNDS))


def shown(*latencies: float) -> dict[float, float]:
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.observe(latency)
    return {float(bound): count for bound, count in histogram.cumulative()}


def test_bounds_double_from_microseconds_to_half_a_minute() -> None:
    *bounds, last = shown()
    assert (bounds[0], bounds[-1], last) == (8e-6, 2**22 * 8e-6, math.inf)
    assert all(after == 2 * before for before, after in itertools.pairwise(bounds))


def test_what_took_no_time_is_in_the_first_and_what_took_too_long_only_in_the_last() -> None:
    assert set(shown(0.0).values()) == {1}
    assert [bound for bound, count in shown(1e6).items() if count] == [math.inf]


@given(LATENCIES)
def test_each_bound_has_all_that_were_no_longer_and_the_sum_is_that_of_all(latencies: list[float]) -> None:
    for bound, count in shown(*latencies).items():
        assert count == sum(latency <= bound for latency in latencies)
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.observe(latency)
    assert math.isclose(histogram.seconds, math.fsum(latencies))
