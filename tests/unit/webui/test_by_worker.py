"""Speed by worker: who is shown, and that nothing is lost beside the total."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.settings import Pace
from webui_svc.report import Report
from webui_svc.speed import Speed
from webui_svc.worker_speeds import SHOWN, most
from webui_svc.worker_totals import MOST_WORKERS, WorkerTotals

BASE = 1_700_000_000
SPAN = 60

MOMENTS = st.integers(BASE * 1_000_000, (BASE + SPAN) * 1_000_000)
REPORTS = st.lists(
    st.tuples(st.integers(1, 14), st.integers(0, 10**9), st.tuples(MOMENTS, MOMENTS).map(sorted)), max_size=40
)


def filled(reports: list[tuple[int, int, list[int]]]) -> Speed:
    speed = Speed()
    for sequence, (worker, hashes, (begin, end)) in enumerate(reports, 1):
        name = f"worker-{worker}"
        speed.add(
            Report(name, name, sequence, hashes, 0, begin, end, 1, Pace.FULL, 1_000_000, end, end), BASE + SPAN, 0.0
        )
    speed.settle(BASE + SPAN + 10, 100.0)  # all are silent, so all is known
    return speed


@given(REPORTS)
def test_the_area_under_the_total_is_the_hashes_reported(reports: list[tuple[int, int, list[int]]]) -> None:
    area = sum(hashes for _, hashes in filled(reports).points(900))
    assert area == pytest.approx(sum(hashes for _, hashes, _ in reports), rel=1e-9, abs=1e-2)


@given(REPORTS)
def test_the_workers_add_up_to_the_total(reports: list[tuple[int, int, list[int]]]) -> None:
    speed = filled(reports)
    workers, rows = speed.points_by_worker(900)
    totals = speed.points(900)
    assert [row[0] for row in rows] == [second for second, _ in totals]
    assert [sum(row[1:]) for row in rows] == pytest.approx([hashes for _, hashes in totals], rel=1e-9, abs=1e-2)
    reported: Counter[str] = Counter()
    for number, hashes, _ in reports:
        reported[f"worker-{number}"] += hashes
    for column, worker in enumerate(workers, 1):
        assert sum(row[column] for row in rows) == pytest.approx(reported[worker], rel=1e-9, abs=1e-2)
    assert len(workers) == min(SHOWN, sum(hashes > 0 for hashes in reported.values()))


def test_those_with_most_hashes_are_shown_most_first() -> None:
    sums = {f"worker-{number}": float(number) for number in range(12)}
    assert most(sums) == [f"worker-{number}" for number in range(11, 11 - SHOWN, -1)]


def test_a_worker_that_went_is_forgotten_with_its_last_second() -> None:
    speed = filled([(1, 10, [BASE * 1_000_000, (BASE + 1) * 1_000_000])])
    speed.settle(BASE + 2_000, 2_000)
    assert len(speed.by_worker) == 0


def test_buckets_by_worker_leave_the_rest_to_the_others() -> None:
    held = WorkerTotals()
    held.set("a", {100: 30.0, 110: 40.0})
    held.set("b", {110: 100.0, 120: 1.0})
    held.settle(125)
    workers, rows = held.history({100: 35.0, 110: 150.0, 120: 7.0}, 125, 60)
    assert workers == ["b", "a"]
    assert rows == [[100, 0.0, 3.0, 0.5], [110, 10.0, 4.0, 1.0]]


def test_newer_buckets_replace_those_of_the_same_time() -> None:
    held = WorkerTotals()
    held.set("a", {100: 30.0, 110: 1.0})
    held.set("a", {110: 40.0})
    held.settle(120)
    assert held.history({100: 30.0, 110: 40.0}, 120, 60) == (["a"], [[100, 3.0, 0.0], [110, 4.0, 0.0]])


def test_there_are_no_more_workers_than_the_bound() -> None:
    held = WorkerTotals()
    for number in range(MOST_WORKERS + 10):
        held.set(f"worker-{number}", {100: 1.0})
    assert len(held) == MOST_WORKERS


def test_buckets_older_than_an_hour_are_forgotten() -> None:
    held = WorkerTotals()
    held.set("a", {100: 1.0})
    held.settle(3_900)
    assert len(held) == 0
