import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.settings import Pace
from webui_svc.buckets import CHUNK
from webui_svc.report import Report
from webui_svc.speed import Speed

BASE = 1_700_000_000


class Clocked:
    """A Speed under a clock that the test sets; times are seconds after BASE."""

    def __init__(self) -> None:
        self.speed = Speed()
        self._sequences: dict[str, int] = {}

    def report(
        self, worker: str, hashes: int, begin: float, end: float, *, heard: float, sequence: int = 0, every: float = 1
    ) -> None:
        number = sequence or self._sequences.get(worker, 0) + 1
        self._sequences[worker] = number
        begin_us, end_us = (int((BASE + moment) * 1_000_000) for moment in (begin, end))
        every_us = int(every * 1_000_000)
        self.speed.add(
            Report(worker, worker, number, hashes, 0, begin_us, end_us, 1, Pace.CLASSIC, every_us), BASE + heard, heard
        )

    def settle(self, now: float) -> None:
        self.speed.settle(BASE + now, now)

    def points(self, seconds: int = 900) -> dict[int, float]:
        return {second - BASE: hashes for second, hashes in self.speed.points(seconds)}

    def changed(self) -> dict[int, float]:
        return {second - BASE: hashes for second, hashes in self.speed.take_changed()}


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


def test_only_whole_seconds_that_were_reported_are_shown(clocked: Clocked) -> None:
    clocked.report("a", 29, 0, 2.9, heard=3)
    clocked.settle(3)
    assert clocked.points() == {0: 10, 1: 10}


def test_the_slowest_live_worker_decides_how_far_it_is_known(clocked: Clocked) -> None:
    clocked.report("a", 50, 0, 5, heard=5)
    clocked.report("b", 20, 0, 2, heard=5)
    clocked.settle(5)
    assert clocked.points() == {0: 20, 1: 20}


def test_a_worker_that_reports_without_claiming_time_is_waited_for(clocked: Clocked) -> None:
    clocked.report("b", 20, 0, 2, heard=2)
    for second in range(3, 20):
        clocked.report("a", 10, second - 1, second, heard=second)
        clocked.report("b", 0, 2, 2, heard=second)
        clocked.settle(second)
    assert max(clocked.points()) == 1


def test_a_worker_silent_for_three_seconds_is_not_waited_for(clocked: Clocked) -> None:
    clocked.report("b", 20, 0, 2, heard=2)
    for second in range(1, 6):
        clocked.report("a", 10, second - 1, second, heard=second)
    clocked.settle(4.9)
    assert max(clocked.points()) == 1
    clocked.settle(5)
    assert clocked.points() == {0: 20, 1: 20, 2: 10, 3: 10, 4: 10}


@pytest.mark.parametrize(("every", "gone"), [(0.1, 3.0), (5.0, 15.0), (60.0, 180.0)])
def test_a_worker_is_waited_for_as_long_as_it_means_to_be_silent(clocked: Clocked, every: float, gone: float) -> None:
    clocked.report("a", 20, 0, 2, heard=2, every=every)
    for now, there in [(1.9 + gone, 1), (2 + gone, 0)]:
        clocked.settle(now)
        assert (clocked.speed.workers.count(now), clocked.speed.workers.is_live("a", now)) == (there, bool(there))
    assert clocked.speed.workers.gone(2 + gone).keys() == {"a"}
    assert clocked.speed.workers.gone(12 + gone).keys() == set()


def test_with_nobody_left_the_speed_is_nothing_and_time_goes_on(clocked: Clocked) -> None:
    clocked.report("a", 20, 0, 2, heard=2)
    clocked.settle(10)
    assert clocked.points() == {0: 10, 1: 10, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    assert clocked.speed.current(10) == 0


def test_a_new_worker_concerns_only_time_from_its_own_begin(clocked: Clocked) -> None:
    for second in range(1, 6):
        clocked.report("a", 10, second - 1, second, heard=second)
    clocked.settle(5)
    clocked.report("b", 10, 4, 5, heard=5.5)
    clocked.settle(5.5)
    assert clocked.points() == {0: 10, 1: 10, 2: 10, 3: 10, 4: 20}


def test_what_a_late_report_changes_is_told_again(clocked: Clocked) -> None:
    for second in range(1, 6):
        clocked.report("a", 10, second - 1, second, heard=second)
    clocked.settle(5)
    assert len(clocked.changed()) == 5
    clocked.report("late", 4, 1, 3, heard=5)
    clocked.report("a", 10, 5, 6, heard=6)
    clocked.settle(6)
    assert clocked.changed() == {1: 12, 2: 12}
    clocked.report("late", 0, 3, 6, heard=6)
    clocked.settle(6)
    assert clocked.changed() == {5: 10}


def test_what_is_known_is_never_taken_back(clocked: Clocked) -> None:
    clocked.report("a", 50, 0, 5, heard=5)
    clocked.settle(5)
    clocked.report("b", 1, 0, 1, heard=5)
    clocked.settle(5)
    assert max(clocked.points()) == 4


def test_a_report_that_comes_again_is_counted_once(clocked: Clocked) -> None:
    for _ in range(2):
        clocked.report("a", 10, 0, 1, heard=2, sequence=1)
        clocked.report("a", 10, 1, 2, heard=2, sequence=2)
    clocked.settle(2)
    assert clocked.points() == {0: 10, 1: 10}


def test_a_nonsensical_sequence_number_does_not_silence_a_worker(clocked: Clocked) -> None:
    clocked.report("a", 10, 0, 1, heard=1, sequence=2**53)
    clocked.report("a", 10, 1, 2, heard=2, sequence=1)
    clocked.settle(2)
    assert clocked.points() == {0: 10, 1: 10}


def test_a_worker_far_behind_everybody_is_not_waited_for(clocked: Clocked) -> None:
    clocked.report("behind", 1, 0, 1, heard=300)
    clocked.report("a", 10, 299, 300, heard=300)
    clocked.settle(300)
    assert max(clocked.points()) == 299


def test_a_time_in_which_redis_was_away_is_no_silence(clocked: Clocked) -> None:
    clocked.report("a", 10, 0, 1, heard=1)
    clocked.report("b", 10, 0, 1, heard=1)
    clocked.speed.workers.excuse(60)
    assert clocked.speed.workers.count(61.5) == 2


def test_the_current_speed_leaves_out_the_second_in_which_it_began(clocked: Clocked) -> None:
    clocked.report("a", 1, 0.7, 1, heard=1)
    clocked.settle(1)
    assert clocked.speed.current(1) is None
    for second in range(1, 4):
        clocked.report("a", 10, second, second + 1, heard=second + 1)
    clocked.settle(4)
    assert clocked.speed.current(4) == 10


def test_there_is_no_more_than_fifteen_minutes_of_it(clocked: Clocked) -> None:
    for second in range(1, 1_200):
        clocked.report("a", 10, second - 1, second, heard=second)
        clocked.settle(second)
    points = clocked.points(3_600)
    assert (len(points), min(points)) == (900, 299)
    assert len(clocked.speed._buckets) <= 900 + 2 * CHUNK


def test_workers_that_came_and_went_are_forgotten(clocked: Clocked) -> None:
    for second in range(1, 2_000):
        clocked.report(f"worker-{second}", 10, second - 1, second, heard=second)
        clocked.settle(second)
    assert len(clocked.speed.workers._known) <= 901


def test_a_clock_that_was_set_back_does_not_stop_the_curve(clocked: Clocked) -> None:
    clocked.report("a", 10, 0, 1, heard=1)
    clocked.speed.settle(BASE + 1_000_000, 10)
    clocked.report("a", 10, 10, 11, heard=11)
    clocked.settle(11)
    clocked.report("a", 10, 11, 12, heard=12)
    clocked.settle(12)
    assert clocked.points()[11] == 10


REPORTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.floats(0.0, 2.5)), min_size=1, max_size=40)


@given(REPORTS)
def test_whatever_was_told_adds_up_to_the_points(reports: list[tuple[str, int, float]]) -> None:
    clocked = Clocked()
    ends = dict.fromkeys("abc", 0.0)
    told: dict[int, float] = {}
    clock = 0.0
    for worker, hashes, length in reports:
        begin, ends[worker] = ends[worker], ends[worker] + length
        clock = max(clock + 0.3, ends[worker])
        clocked.report(worker, hashes, begin, ends[worker], heard=clock)
        clocked.settle(clock)
        told.update(clocked.changed())
    clocked.settle(clock + 10)
    told.update(clocked.changed())
    assert told == clocked.points()
    total = sum(hashes for _, hashes, _ in reports)
    assert sum(told.values()) == pytest.approx(total, abs=1e-3)
