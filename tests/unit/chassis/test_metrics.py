import asyncio
import math
from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from support.virtual_time import freeze

from chassis.telemetry.metrics import (
    BUCKET_BOUNDS,
    LAG_INTERVAL_S,
    LAST_BUCKET,
    EventLoopLag,
    LatencyHistogram,
    bucket,
    quantile,
)


@given(st.floats(1e-6, 1_000))
def test_a_latency_is_between_the_bounds_of_its_bucket(seconds: float) -> None:
    index = bucket(seconds)
    assert (2 ** ((index - 1) / 4)) * (1 - 1e-9) < seconds * 1e6 <= 2 ** (index / 4) * (1 + 1e-9)


def test_a_bound_belongs_to_its_own_bucket() -> None:
    assert [bucket(seconds) for seconds in (0.0, *BUCKET_BOUNDS, inf)] == [0, *range(LAST_BUCKET), LAST_BUCKET]


@given(st.lists(st.floats(2e-6, 1_000), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_right_within_a_bucket(latencies: list[float], part: float) -> None:
    assert quantile({}, part) is None
    exact = sorted(latencies)[math.ceil(part * len(latencies)) - 1]
    assert quantile(Counter(map(bucket, latencies)), part) == pytest.approx(exact, rel=0.1)


LATENCIES = st.lists(st.floats(0, 2_000) | st.sampled_from(BUCKET_BOUNDS))


@given(LATENCIES)
def test_each_bound_has_all_that_were_no_longer_and_the_sum_is_that_of_all(latencies: list[float]) -> None:
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.observe(latency)
    for bound, count in histogram.cumulative():
        assert count == sum(latency <= float(bound) for latency in latencies)
    bounds = [float(bound) for bound, _ in histogram.cumulative()]
    assert bounds == pytest.approx([*(2**power / 1e6 for power in range(3, 26)), inf])
    assert math.isclose(histogram.seconds, math.fsum(latencies))


async def test_a_blocked_loop_is_seen() -> None:
    lag = EventLoopLag()
    registry = CollectorRegistry()
    registry.register(lag)
    measuring = asyncio.create_task(lag.run())
    await asyncio.sleep(LAG_INTERVAL_S / 2)
    freeze(1.0)
    await asyncio.sleep(LAG_INTERVAL_S / 2)
    measuring.cancel()
    assert registry.get_sample_value("dockercoins_event_loop_lag_seconds_count") == 1
    assert registry.get_sample_value("dockercoins_event_loop_lag_seconds_sum") == 0.75
