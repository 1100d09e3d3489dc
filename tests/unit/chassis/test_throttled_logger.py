import pytest
from structlog.testing import capture_logs

from chassis.log import ThrottledLogger


class Clock:
    """Of this process and of the wall, which is an hour ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.time", lambda: self.now + 3_600)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_first_time_is_said_at_once(clock: Clock) -> None:
    with capture_logs() as lines:
        ThrottledLogger("trouble", to="rng").log(cause="x")
    assert lines == [{"event": "trouble", "log_level": "warning", "to": "rng", "cause": "x", "times": 1}]


def test_a_storm_is_one_line_with_its_count_and_the_latest_cause(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = ThrottledLogger("trouble", interval_s=10)
        for number in range(6):
            clock.now += 1
            trouble.log(cause=number)
        clock.now += 10
        trouble.flush()
    assert [(line["cause"], line["times"]) for line in lines] == [(0, 1), (5, 5)]


def test_nothing_is_said_twice(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = ThrottledLogger("trouble", interval_s=10)
        trouble.log()
        clock.now += 20
        trouble.flush()
    assert len(lines) == 1


def test_the_level_is_that_of_the_trouble(clock: Clock) -> None:
    with capture_logs() as lines:
        ThrottledLogger("trouble", level="error").log()
    assert lines[0]["log_level"] == "error"


def test_what_is_left_at_the_end_is_said_then(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = ThrottledLogger("trouble", interval_s=10)
        for number in range(3):
            trouble.log(cause=number)
        trouble.close()
        trouble.close()
    assert [(line["cause"], line["times"]) for line in lines] == [(0, 1), (2, 2)]


def test_what_was_held_back_has_the_time_at_which_it_last_happened(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = ThrottledLogger("trouble", interval_s=10)
        for _ in range(3):
            trouble.log()
            clock.now += 1
        clock.now += 60
        trouble.flush()
        trouble.log()
    assert [(line.get("timestamp"), line["times"]) for line in lines] == [(None, 1), (4_602, 2)]
    clock.now += 60
    with capture_logs() as lines:
        trouble.log()
    assert [(line.get("timestamp"), line["times"]) for line in lines] == [(None, 2)]


def test_what_is_no_longer_so_is_not_said(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = ThrottledLogger("trouble", interval_s=10)
        for number in range(3):
            trouble.log(cause=number)
        trouble.clear()
        clock.now += 60
        trouble.flush()
        trouble.close()
        trouble.log(cause="new")
    assert [(line["cause"], line["times"]) for line in lines] == [(0, 1), ("new", 1)]
