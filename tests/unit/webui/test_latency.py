import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui_svc import latency
from webui_svc.stored_json import MalformedJsonError


def bucket(seconds: float) -> int:
    """As the worker has it."""
    return max(0, math.ceil(4 * math.log2(max(seconds * 1e6, 1))))


@given(st.lists(st.floats(2e-6, 1_000), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_right_within_a_bucket(latencies: list[float], part: float) -> None:
    counts: dict[int, int] = {}
    for seconds in latencies:
        counts[bucket(seconds)] = counts.get(bucket(seconds), 0) + 1
    exact = sorted(latencies)[math.ceil(part * len(latencies)) - 1]
    assert latency.quantile(counts, part) == pytest.approx(exact, rel=0.1)


def test_there_is_none_without_a_batch() -> None:
    assert latency.quantile({}, 0.5) is None


def test_counts_by_bucket_are_taken() -> None:
    assert latency.parse({"0": 1, "120": 2}) == {0: 1, 120: 2}


@pytest.mark.parametrize(
    "data", [None, [], {"121": 1}, {"-1": 1}, {"01": 1}, {"1.0": 1}, {"1": -1}, {"1": 1.5}, {"1": True}, {"1": 2**60}]
)
def test_what_is_no_count_by_bucket_is_refused(data: object) -> None:
    with pytest.raises(MalformedJsonError, match=r"^latency: "):
        latency.parse(data)
