"""What the page shows while clocks step, with the worker's own tally and no real clock."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.reports import make_report

from chassis.redis.schema import Report
from webui_svc import timeline
from webui_svc.speed import Speed
from webui_svc.timeline import Timeline
from worker_svc.batch import Batch
from worker_svc.settings import WorkerSettings
from worker_svc.tally import Tally

BASE = 1_700_000_000.0
BATCH_S = 0.3
# At the classic pace with one rng they count 10 hashes/s together.
WORKERS = ("a", "b", "c")


class Clock:
    """The seconds that really pass, and how far the wall clocks of workers and Redis are ahead of BASE."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ahead = dict.fromkeys(("a", "others", "redis"), 0.0)

    def offset(self, worker: str) -> float:
        """The seconds that a worker's wall clock is ahead of the monotonic one."""
        return BASE + self.ahead["a" if worker == "a" else "others"]

    @property
    def redis_us(self) -> int:
        return round((BASE + self.now + self.ahead["redis"]) * 1e6)


def end_of(axis: Timeline, report: Report) -> float:
    """Return where the axis places the end of a report, in seconds."""
    placed = axis.place(report)
    assert placed is not None
    return placed.end_us / 1e6


class Mine:
    """Three workers at the classic pace, Redis and the page's reader, a tenth of a second at a time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.timeline = Timeline()
        self.speed = Speed()
        self.hashes = 0
        self.delays: dict[str, float] = {}
        self._tallies = {name: Tally(WorkerSettings(), name, partial(clock.offset, name)) for name in WORKERS}
        self._entries: list[Report] = []
        self.shown: dict[int, float] = {}
        self._ticks = 0
        self.timeline.observe(clock.redis_us, timeline.steady_us())

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self._ticks += 1
            self.clock.now = self._ticks / 10
            for number, (name, tally) in enumerate(self._tallies.items()):
                if self._ticks % 3 == number:
                    tally.count(Batch(1, 1, 32, self.clock.now - BATCH_S, bytes(32), bytes(32)), self.clock.now)
                if self._ticks % 10 == 2 * number:
                    self._report(name, tally)
            if self._ticks % 3 == 0:
                self.read()

    def _report(self, name: str, tally: Tally) -> None:
        made = tally.report(self.clock.now, self.clock.now - 0.1, 1, {"rng": (), "hasher": ()})
        self.hashes += made.report.hashes
        sent_us = made.report.end_us + round((self.clock.now - made.end) * 1e6)
        redis_us = self.clock.redis_us + round(self.delays.pop(name, 0.0) * 1e6)
        self._entries.append(replace(made.report, sent_us=sent_us, redis_us=redis_us))

    def read(self) -> None:
        entries, self._entries = self._entries, []
        self.timeline.observe(self.clock.redis_us, timeline.steady_us())
        for entry in entries:
            if placed := self.timeline.place(entry):
                self.speed.ingest(placed, self.timeline.now, self.clock.now)
        self.speed.finalize(self.timeline.now, self.clock.now)
        self.shown.update((second, hashes or 0) for second, hashes in self.speed.take_changed())

    @property
    def current(self) -> float:
        return self.speed.current(self.clock.now, self.timeline.now_us) or 0.0

    def shown_until(self, end: int) -> list[float]:
        """What browsers got of the seconds from the first whole one on, as they had really passed."""
        return [self.shown[int(BASE) + second] for second in range(2, end)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timeline, "steady_s", lambda: clock.now)
    return clock


@pytest.mark.parametrize("step", [7_200.0, 300.0, -90.0, -3_600.0])
@pytest.mark.parametrize("set_clocks", [("a", "others", "redis"), ("a",), ("redis",), ("a", "others")], ids=" ".join)
def test_when_a_clock_is_wrong_or_set_the_speed_stays_right_and_the_time_shown_is_that_of_redis(
    clock: Clock, set_clocks: tuple[str, ...], step: float
) -> None:
    clock.ahead["a"] = -step
    mine = Mine(clock)
    mine.run(20)
    assert mine.timeline.shift_s == 0
    for name in set_clocks:
        clock.ahead[name] += step
    for _ in range(100):
        mine.run(0.3)
        assert mine.current == pytest.approx(10, rel=0.08)
    assert mine.shown_until(45) == pytest.approx([10.0] * 43, abs=0.1)
    assert mine.timeline.shift_s == (step if "redis" in set_clocks else 0)
    assert not mine.timeline.observe(clock.redis_us, timeline.steady_us())


def test_a_report_that_redis_took_late_is_drawn_when_it_was_worked(clock: Clock) -> None:
    mine = Mine(clock)
    mine.run(20)
    mine.delays["b"] = 20.0
    mine.run(20)
    assert mine.shown_until(36) == pytest.approx([10.0] * 34, abs=0.1)


def test_a_report_that_comes_again_is_placed_once(clock: Clock) -> None:
    axis = Timeline()
    reports = [make_report(second, second + 1, sequence=second + 1) for second in range(3)]
    assert [axis.place(report) is None for report in reports + reports] == [False] * 3 + [True] * 3
    assert axis.place(make_report(3, 4, sequence=1)) is not None  # a later one


def test_an_answer_that_took_long_is_no_step_but_a_step_beyond_it_is(clock: Clock) -> None:
    mine = Mine(clock)
    mine.run(5)
    for step, answer_s in ((0.0, 30.0), (300.0, 0.3), (-3_900.0, 0.3)):
        clock.ahead["redis"] += step
        asked_us, redis_us = timeline.steady_us(), clock.redis_us
        clock.now += answer_s
        assert mine.timeline.observe(redis_us, asked_us) is bool(step)
        assert mine.timeline.shift_s == pytest.approx(clock.ahead["redis"], abs=1)


def test_a_worker_that_slept_is_believed_after_some_reports(clock: Clock) -> None:
    """A clock that stands still while the machine sleeps, and a wall clock that was not set after it."""
    mine = Mine(clock)
    mine.run(10)
    ends = []
    for number in range(1, 8):
        mine.run(1)
        asleep = 60_000_000 if number > 2 else 0
        known = make_report(number - 1, number, worker="z", sequence=number, redis_us=clock.redis_us + asleep)
        ends.append(end_of(mine.timeline, known) - BASE)
    assert ends[:2] == pytest.approx([11, 12])
    assert ends[-1] == pytest.approx(17, abs=0.1)


@pytest.mark.parametrize("last", [10, 20], ids=["after its last report", "before"])
def test_reports_of_before_the_page_began_are_placed_though_the_clock_was_set_back(clock: Clock, last: int) -> None:
    axis = Timeline()
    ends = []
    for number in range(1, last + 1):
        end = BASE + number - (3_600 if number > 10 else 0)
        ends.append(end_of(axis, make_report(end - 1, end, sequence=number)))
    clock.ahead["redis"] = last - 3_600
    axis.observe(clock.redis_us, timeline.steady_us())
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] == pytest.approx(last - 1, abs=1.1)
    assert ends[-1] <= axis.now
    assert axis.shift_s == pytest.approx(-3_600, abs=1.1)
    assert axis.now + axis.shift_s == pytest.approx(BASE + last - 3_600, abs=1)


@given(
    st.lists(
        st.tuples(st.floats(0.5, 9), st.sampled_from(["a", "others", "redis"]), st.floats(-7_200, 7_200)), max_size=6
    )
)
@settings(max_examples=10, deadline=None)
def test_whatever_clocks_do_what_is_shown_adds_up_to_what_was_counted(steps: list[tuple[float, str, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(timeline, "steady_s", lambda: clock.now)
        mine = Mine(clock)
        for seconds, name, step in steps:
            mine.run(seconds)
            clock.ahead[name] += step
        mine.run(20)
        mine.read()
        clock.now += 10
        mine.read()
        # Half of each worker's first batch is not shown.
        assert sum(mine.shown.values()) == pytest.approx(mine.hashes - 3 / 2, abs=1e-3)
        assert all(hashes >= -1e-9 for hashes in mine.shown.values())
