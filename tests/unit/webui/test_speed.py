import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import make_report

from chassis.redis.schema import REPORTS_S
from webui_svc.speed import CHUNK_S, MAX_HOURS, SHOWN_WORKERS, Buckets, HourlyHistory, Point, Speed

BASE = 1_700_000_000


class Clocked:
    """A Speed under a clock that the test sets; times are seconds after BASE, on the time axis."""

    def __init__(self) -> None:
        self.speed = Speed()

    def report(
        self,
        worker: str,
        hashes: int,
        begin: float,
        end: float,
        seen: float | None = None,
        *,
        every: float = 1,
        sequence: int = 2,
    ) -> None:
        """Report, seen at the end by default; a report without a hash says that the worker is stalled."""
        seen = end if seen is None else seen
        stalled = {"stalled_since_us": int((BASE + end) * 1e6), "waits_for": "hasher"}
        report = make_report(
            BASE + begin,
            BASE + end,
            hashes,
            worker,
            sequence=sequence,
            report_interval_us=int(every * 1e6),
            redis_us=int((BASE + seen) * 1e6),
            **(stalled if not hashes else {}),
        )
        self.speed.ingest(report, BASE + seen, seen)

    def current(self, now: float) -> float | None:
        return self.speed.current(now, int((BASE + now) * 1_000_000))

    def finalize(self, now: float) -> None:
        self.speed.finalize(BASE + now, now)

    def points(self, seconds: int = 900) -> dict[int, float | None]:
        return {second - BASE: hashes for second, hashes in self.speed.points(seconds)}

    def changed(self) -> dict[int, float | None]:
        return {second - BASE: hashes for second, hashes in self.speed.take_changed()}


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


A = [("a", 10, second, second + 1) for second in range(5)]


@pytest.mark.parametrize(
    ("reports", "now", "points"),
    [
        pytest.param([("a", 29, 0, 2.9)], 3, [10, 10], id="only whole seconds"),
        pytest.param([*A, ("b", 20, 0, 2)], 4.9, [20, 20], id="as far as the slowest live worker"),
        pytest.param([*A, ("b", 20, 0, 2)], 5, [20, 20, 10, 10, 10], id="a worker silent for three seconds is gone"),
        pytest.param([*A, ("b", 10, 4, 5)], 5, [10, 10, 10, 10, 20], id="a new worker counts from its own begin"),
        pytest.param([("a", 20, 0, 2)], 10, [10, 10, *[None] * 5], id="time goes on without workers"),
        pytest.param([*A, ("b", 1, -300, -299, 5)], 5, [10] * 5, id="a worker far behind is not waited for"),
    ],
)
def test_the_speed_is_known_as_far_as_all_live_workers_have_reported(
    clocked: Clocked, reports: list[tuple[str, int, float, float]], now: float, points: list[float]
) -> None:
    for report in reports:
        clocked.report(*report)
    clocked.finalize(now)
    assert {second: hashes for second, hashes in clocked.points().items() if second >= 0} == dict(enumerate(points))


# One whose last batch was counted at 2, and says so at 3 and at 5.
STALLED = [("a", 20, 0, 2), ("a", 0, 2, 2, 3), ("a", 0, 2, 2, 5)]


@pytest.mark.parametrize(
    ("reports", "now", "speed"),
    [
        pytest.param([("a", 3, 0.1, 1)], 1, None, id="unknown until a worker has worked for a second"),
        pytest.param([("a", 3, 0.1, 1), ("a", 10, 1, 4)], 4, 13 / 3.9, id="since the work began"),
        pytest.param(A, 7, 10, id="up to two report intervals old"),
        pytest.param(A, 7.9, 10 * 3.1 / 4, id="no older than two report intervals"),
        pytest.param(STALLED, 5, 10 / 4, id="time without a batch counts"),
        pytest.param(STALLED, 6, 0, id="nothing four seconds after the last batch"),
        pytest.param([*A, ("b", 8, 4, 5)], 5, 10 + 8 / 4, id="of one time for all workers"),
        pytest.param([("b", 20, 0, 2), *A], 5.5, 10 + 20 * 0.5 / 2 / 4, id="of gone workers, too"),
    ],
)
def test_the_current_speed_is_that_of_the_last_four_seconds_known(
    clocked: Clocked, reports: list[tuple[str, int, float, float]], now: float, speed: float | None
) -> None:
    for report in reports:
        clocked.report(*report)
    assert clocked.current(now) == (None if speed is None else pytest.approx(speed))


# Batches per second of one rng that serves one at a time, and the time that a batch takes after that.
LIMIT_PER_S = 10
REST_S = 0.2


class SerialRng:
    """Workers on one serial rng, each with one batch in flight; they report once a second from their beginning on."""

    def __init__(self, clocked: Clocked) -> None:
        self.clocked = clocked
        self._free = 0.0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event))

    def add_worker(self, name: str, begin: float, end: float) -> None:
        begun = counted = reported = begin
        hashes = sequence = 0

        def send(now: float) -> None:
            nonlocal begun
            begun = now
            if now < end:
                self._free = max(now, self._free) + 1 / LIMIT_PER_S
                self.at(self._free + REST_S, count)

        def count(now: float) -> None:
            nonlocal counted, hashes
            counted, hashes = now, hashes + 1
            send(now)

        def report(now: float) -> None:
            nonlocal reported, hashes, sequence
            sequence += 1
            until = counted if hashes else begun
            self.clocked.report(name, hashes, reported, until, now, sequence=sequence)
            reported, hashes = until, 0
            if now < end + 1:
                self.at(now + 1, report)

        self.at(begin, send)
        self.at(begin + 1, report)

    def run(self, until: float) -> Iterator[float]:
        """Run, and yield each quarter of a second."""
        for quarter in range(round(until * 4)):
            while self._events and self._events[0][0] <= quarter / 4:
                when, _, event = heapq.heappop(self._events)
                event(when)
            self.clocked.finalize(quarter / 4)
            yield quarter / 4


TEN = [(f"worker-{number}", number / 200, 99.0) for number in range(10)]


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "workers",
    [
        pytest.param(TEN, id="10 at once"),
        pytest.param([(f"worker-{number}", number / 200, 99.0) for number in range(20)], id="20 at once"),
        pytest.param([(name, 24 * begin, end) for name, begin, end in TEN], id="10 one by one"),
        pytest.param([TEN[0], *((name, 6 + begin, end) for name, begin, end in TEN[1:])], id="1 to 10"),
        pytest.param([TEN[0], *((name, begin, 9 + 4 * begin) for name, begin, _ in TEN[1:])], id="10 to 1"),
    ],
)
def test_no_speed_is_above_what_a_serial_rng_allows_and_a_steady_one_is_a_flat_line(
    clocked: Clocked, workers: list[tuple[str, float, float]], phase: float
) -> None:
    rng = SerialRng(clocked)
    for name, begin, end in workers:
        rng.add_worker(name, phase + begin, end)
    currents = [clocked.current(now) or 0.0 for now in rng.run(20)]
    points = [hashes or 0.0 for hashes in clocked.points().values()]
    assert max(points) <= 1.01 * LIMIT_PER_S
    assert max(currents) <= 1.05 * LIMIT_PER_S
    steady = 10 / 3 if workers[-1][2] < 20 else LIMIT_PER_S
    assert points[-6:-2] == pytest.approx([steady] * 4, rel=0.01)


def test_a_batch_that_took_long_counts_as_current_when_it_was_counted(clocked: Clocked) -> None:
    """Ten workers whose batches take ten seconds each: one of them is counted in each second."""
    for second in range(1, 60):
        for worker in range(10):
            name, last = f"w{worker}", (second - worker) // 10 * 10 + worker
            if last == second:
                clocked.report(name, 1, max(0, second - 10), second)
            elif last >= 0:
                clocked.report(name, 0, last, last, seen=second)
    assert clocked.current(59) == pytest.approx(1)


def test_time_without_work_is_nothing_until_the_batch_that_was_in_flight_is_counted(clocked: Clocked) -> None:
    """A worker beside it counts 10 in each second. The last report interval stays open."""
    clocked.report("b", 20, 0, 2)
    for second in range(1, 301):
        clocked.report("a", 10, second - 1, second)
        if second > 2:
            clocked.report("b", 0, 2, 2, seen=second)
        clocked.finalize(second)
    assert clocked.points() == {0: 20, 1: 20} | dict.fromkeys(range(2, 299), 10)
    assert [len(worker.counted) for worker in clocked.speed.live(300).values()] == [5, 1]  # no memory grows
    clocked.changed()
    clocked.report("b", 299, 2, 301)
    clocked.report("a", 10, 300, 301)
    clocked.finalize(301)
    assert clocked.changed() == dict.fromkeys(range(2, 301), 11)
    assert sum(hashes or 0 for hashes in clocked.points().values()) == pytest.approx(3_010 + 20 + 299)


@pytest.mark.parametrize(("every", "gone"), [(0.1, 3.0), (5.0, 15.0), (60.0, 180.0)])
def test_a_worker_is_waited_for_as_long_as_it_means_to_be_silent_or_redis_was_away(
    clocked: Clocked, every: float, gone: float
) -> None:
    speed = clocked.speed
    clocked.report("a", 20, 0, 2, every=every)
    for now, there in [(1.9 + gone, 1), (2 + gone, 0)]:
        assert (len(speed.live(now)), "a" in speed.live(now)) == (there, bool(there))
    speed.ignore_gap(60)
    assert (len(speed.live(61.9 + gone)), len(speed.live(62 + gone))) == (1, 0)


def test_what_is_older_than_fifteen_minutes_is_forgotten(clocked: Clocked) -> None:
    for second in range(1, 1_000):
        clocked.report(f"worker-{second}", 10, second - 1, second)
        clocked.finalize(second)
    points = clocked.points(3_600)
    assert (len(points), max(points) - min(points)) == (REPORTS_S, REPORTS_S - 1)
    assert len(clocked.speed._hashes) <= REPORTS_S + 2 * CHUNK_S
    assert len(clocked.speed.workers) <= REPORTS_S + 1
    assert len(clocked.speed._by_worker) <= REPORTS_S + CHUNK_S
    clocked.finalize(3_000)
    assert len(clocked.speed._by_worker) == 0


INTERVALS = st.tuples(st.floats(0, 60), st.floats(0, 60)).map(sorted)


@given(st.lists(st.tuples(st.integers(1, 14), st.integers(0, 10**9), INTERVALS), max_size=40))
def test_the_area_of_all_workers_and_of_each_is_the_hashes_reported(
    reports: list[tuple[int, int, list[float]]],
) -> None:
    clocked, reported = Clocked(), Counter[str]()
    for number, hashes, (begin, end) in reports:
        reported[f"worker-{number}"] += hashes
        clocked.report(f"worker-{number}", hashes, begin, end, seen=0, every=0.1)
    clocked.finalize(100)
    totals_by_second = [(second, hashes or 0) for second, hashes in clocked.speed.points(REPORTS_S)]
    workers, values = clocked.speed.points_by_worker(REPORTS_S, set())
    rows = [[value or 0 for value in row] for row in values]
    assert sum(hashes for _, hashes in totals_by_second) == pytest.approx(reported.total(), rel=1e-9, abs=1e-2)
    assert [row[0] for row in rows] == [second for second, _ in totals_by_second]
    assert [sum(row[1:]) for row in rows] == pytest.approx([each for _, each in totals_by_second], rel=1e-9, abs=1e-2)
    for column, worker in enumerate(workers, 1):
        assert sum(row[column] for row in rows) == pytest.approx(reported[worker], rel=1e-9, abs=1e-2)
    assert len(workers) == min(SHOWN_WORKERS, sum(hashes > 0 for hashes in reported.values()))


def test_a_time_without_workers_is_no_speed_and_one_without_batches_is_zero(clocked: Clocked) -> None:
    clocked.report("worker-1-00000001", 20, 0, 2)
    clocked.finalize(8)
    assert clocked.changed() == {0: 10, 1: 10, **dict.fromkeys(range(2, 5), None)}
    clocked.report("worker-1-00000002", 0, 3, 3, seen=9)  # another process under its name, without a batch
    clocked.finalize(9)
    assert clocked.changed() == {3: 0, 4: 0, 5: 0, 6: 0, 7: 0}
    clocked.report("worker-1-00000002", 18, 3, 9)
    clocked.report("worker-10-00000003", 6, 3, 9)
    clocked.report("worker-2-00000004", 6, 3, 9)
    clocked.finalize(9)
    workers, rows = clocked.speed.points_by_worker(REPORTS_S, {"worker-1", "worker-2"})
    assert workers == ["worker-1", "worker-2", "worker-10"]
    assert [row[1:] for row in rows[1:4]] == [[10, 0, 0, 0], [None] * 4, [3, 1, 1, 0]]


def test_an_interval_from_the_beginning_of_time_fills_no_more_than_is_kept() -> None:
    buckets = Buckets()
    buckets.spread(10, 0, BASE * 1_000_000, floor=BASE - 900)
    assert len(buckets) <= 900 + 2 * CHUNK_S


def hour(buckets: dict[int, float], until: int, seconds: int) -> list[Point]:
    held = HourlyHistory()
    held.set_totals(buckets, until)
    return held.points(seconds)


def test_ten_second_buckets_become_speeds_up_to_the_last_whole_one() -> None:
    assert hour({100: 33.0, 110: 34.0, 120: 5.0}, until=125, seconds=1_000) == [(100, 3.3), (110, 3.4)]
    without_worker = [(100, 1.0), (110, None), (120, 0.0)]
    assert hour({100: 10.0, 120: 0.0}, until=130, seconds=1_000) == without_worker
    assert len(hour(dict.fromkeys(range(0, 7_200, 10), 10.0), until=7_200, seconds=3_600)) == 360


def test_buckets_of_workers_are_bounded_in_number_and_age() -> None:
    held = HourlyHistory()
    for number in range(MAX_HOURS + 10):
        held.update_worker(f"worker-{number}", {100: 1.0})
    assert len(held._by_worker) == MAX_HOURS
    held.set_totals({}, 3_900)
    assert held._by_worker == {}
