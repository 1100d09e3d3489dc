import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui_svc.buckets import CHUNK, Buckets

BASE = 1_700_000_000
MOMENTS = st.integers(BASE * 1_000_000, (BASE + 30) * 1_000_000)
INTERVALS = st.tuples(MOMENTS, MOMENTS).map(sorted)
REPORTS = st.lists(st.tuples(st.integers(0, 10**9), INTERVALS), max_size=20)


@given(REPORTS)
def test_the_area_under_the_curve_is_the_hashes_reported(reports: list[tuple[int, list[int]]]) -> None:
    buckets = Buckets()
    for hashes, (begin, end) in reports:
        buckets.spread(hashes, begin, end, floor=0)
    area = sum(buckets[second] for second in range(BASE, BASE + 31))
    assert area == pytest.approx(sum(hashes for hashes, _ in reports))


@given(st.integers(1, 10**9), INTERVALS, st.integers(BASE, BASE + 30))
def test_only_seconds_from_the_floor_on_are_filled(hashes: int, interval: list[int], floor: int) -> None:
    begin, end = interval
    buckets = Buckets()
    changed = buckets.spread(hashes, begin, end, floor)
    kept = [second for second in range(BASE, BASE + 31) if buckets[second]]
    assert all(second >= floor and second in changed for second in kept)
    if begin < end:
        share = max(0, end - max(begin, floor * 1_000_000)) / (end - begin)
        assert sum(buckets[second] for second in kept) == pytest.approx(hashes * share)


def test_a_steady_rate_is_flat_however_the_intervals_lie() -> None:
    buckets = Buckets()
    at = BASE * 1_000_000
    for batches in [3, 4, 3, 3, 4, 3, 3, 3, 4, 3]:
        buckets.spread(batches, at, at + batches * 300_000, floor=0)
        at += batches * 300_000
    assert [buckets[second] for second in range(BASE, BASE + 9)] == pytest.approx([1 / 0.3] * 9)


def test_hashes_of_a_moment_belong_to_its_second() -> None:
    buckets = Buckets()
    moment = BASE * 1_000_000 + 999_999
    assert list(buckets.spread(7, moment, moment, floor=0)) == [BASE]
    assert buckets[BASE] == 7


def test_an_interval_that_ends_on_a_full_second_leaves_the_next_alone() -> None:
    buckets = Buckets()
    assert list(buckets.spread(5, BASE * 1_000_000, (BASE + 1) * 1_000_000, floor=0)) == [BASE]
    assert buckets.between(BASE - 1, BASE + 2) == [0, 5, 0]


def test_an_interval_from_the_beginning_of_time_fills_no_more_than_is_kept() -> None:
    buckets = Buckets()
    buckets.spread(10, 0, BASE * 1_000_000, floor=BASE - 900)
    assert len(buckets) <= 900 + 2 * CHUNK


def test_what_lies_before_is_forgotten() -> None:
    buckets = Buckets()
    buckets.spread(300, BASE * 1_000_000, (BASE + 300) * 1_000_000, floor=0)
    buckets.forget_before(BASE + 298)
    assert len(buckets) <= 2 * CHUNK
    assert buckets.between(BASE + 298, BASE + 301) == [1, 1, 0]


@given(REPORTS, st.integers(BASE - 70, BASE + 30), st.integers(0, 140))
def test_seconds_in_a_row_are_the_seconds_one_by_one(
    reports: list[tuple[int, list[int]]], first: int, count: int
) -> None:
    buckets = Buckets()
    for hashes, (begin, end) in reports:
        buckets.spread(hashes, begin, end, floor=0)
    assert buckets.between(first, first + count) == [buckets[second] for second in range(first, first + count)]
