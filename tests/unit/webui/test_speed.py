import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.settings import Pace
from webui_svc.buckets import CHUNK
from webui_svc.report import Report
from webui_svc.speed import Speed

BASE = 1_700_000_000


class Clocked:
    """A Speed under a clock that the test sets; times are seconds after BASE, on the time axis."""

    def __init__(self) -> None:
        self.speed = Speed()
        self._sequences: dict[str, int] = {}

    def report(
        self, worker: str, hashes: int, begin: float, end: float, *, heard: float, sequence: int = 0, every: float = 1
    ) -> None:
        """One without a hash and without a length is one that says that its worker is stalled."""
        number = sequence or self._sequences.get(worker, 0) + 1
        self._sequences[worker] = number
        begin_us, end_us = (int((BASE + moment) * 1_000_000) for moment in (begin, end))
        at_us = int((BASE + heard) * 1_000_000)
        report = Report(
            *(worker, worker, number, hashes, 0, begin_us, end_us, 1, Pace.CLASSIC, int(every * 1_000_000)),
            sent_us=at_us,
            redis_us=at_us,
            stalled_since_us=end_us if not hashes and begin == end else 0,
        )
        self.speed.add(report, BASE + heard, heard)

    def current(self, now: float) -> float | None:
        return self.speed.workers.speed(now, int((BASE + now) * 1_000_000))

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


def stall(clocked: Clocked, end: int, begin: int = 0) -> None:
    """Two workers, of which one counts nothing from 2 on, until then 10 a second."""
    for second in range(begin + 1, end + 1):
        clocked.report("a", 10, second - 1, second, heard=second)
        if second <= 2:
            clocked.report("b", 10, second - 1, second, heard=second)
        else:
            clocked.report("b", 0, 2, 2, heard=second)
        clocked.settle(second)


def test_time_without_work_is_shown_as_it_passes_but_for_the_last_report_interval(clocked: Clocked) -> None:
    stall(clocked, 20)
    assert clocked.points() == {0: 20, 1: 20} | dict.fromkeys(range(2, 19), 10)


def test_the_batch_that_was_in_flight_replaces_what_was_shown_of_a_time_without_work(clocked: Clocked) -> None:
    stall(clocked, 20)
    clocked.changed()
    clocked.report("b", 38, 2, 21, heard=21)
    clocked.report("a", 10, 20, 21, heard=21)
    clocked.settle(21)
    assert clocked.changed() == dict.fromkeys(range(2, 21), 12)
    assert sum(clocked.points().values()) == pytest.approx(210 + 20 + 38)


def test_the_current_speed_is_nothing_five_seconds_after_the_last_batch(clocked: Clocked) -> None:
    stall(clocked, 3)
    assert clocked.current(3) == pytest.approx(10 + 20 / 3)
    stall(clocked, 7, 3)
    assert clocked.current(7) == pytest.approx(10)
    clocked.report("a", 0, 7, 7, heard=8)
    assert clocked.current(8) == pytest.approx(8)
    assert clocked.current(10) == pytest.approx(4)
    assert clocked.current(12) == 0


def test_a_worker_that_waits_for_hours_takes_no_memory(clocked: Clocked) -> None:
    stall(clocked, 300)
    (_, waiting) = clocked.speed.workers.live(300).values()
    assert len(waiting.counted) == 2


def test_a_batch_that_took_long_counts_as_current_when_it_was_counted(clocked: Clocked) -> None:
    """Ten workers whose batches take ten seconds each: one of them is counted in each second."""
    for second in range(1, 60):
        for worker in range(10):
            name, last = f"w{worker}", (second - worker) // 10 * 10 + worker
            if last == second:
                clocked.report(name, 1, max(0, second - 10), second, heard=second)
            elif last >= 0:
                clocked.report(name, 0, last, last, heard=second)
    assert clocked.current(59) == pytest.approx(1)


def test_a_speed_older_than_two_report_intervals_is_not_shown(clocked: Clocked) -> None:
    for second in range(1, 6):
        clocked.report("a", 10, second - 1, second, heard=second, every=1)
    assert clocked.current(7) == pytest.approx(10)
    assert clocked.current(7.9) == pytest.approx(10 * 4.1 / 5)


def test_what_is_waited_for_is_known_with_the_moment_since_when(clocked: Clocked) -> None:
    clocked.report("a", 10, 0, 2, heard=2)
    assert clocked.speed.workers.waited_for(2) == {}
    end_us = (BASE + 2) * 1_000_000
    waiting = Report("a", "a", 2, 0, 0, end_us, end_us, 1, Pace.CLASSIC, 1_000_000, end_us, end_us, end_us, "hasher")
    clocked.speed.add(waiting, BASE + 3, 3)
    assert clocked.speed.workers.waited_for(3) == {"hasher": BASE + 2}
    assert clocked.speed.workers.waited_for(6.1) == {}


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
    assert clocked.current(10) == 0


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


def test_the_current_speed_is_unknown_until_a_worker_has_worked_for_a_second(clocked: Clocked) -> None:
    clocked.report("a", 3, 0.1, 1, heard=1)
    assert clocked.current(1) is None
    clocked.report("a", 10, 1, 4, heard=4)
    assert clocked.current(4) == pytest.approx(13 / 3.9)


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
