import pytest
from structlog.testing import capture_logs

from chassis.sparing_log import SparingLog


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_first_time_is_said_at_once(clock: Clock) -> None:
    with capture_logs() as lines:
        SparingLog("trouble", to="rng").note(cause="x")
    assert lines == [{"event": "trouble", "log_level": "warning", "to": "rng", "cause": "x", "times": 1}]


def test_a_storm_is_one_line_with_its_count_and_the_latest_cause(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = SparingLog("trouble", every=10)
        for number in range(6):
            clock.now += 1
            trouble.note(cause=number)
        clock.now += 10
        trouble.flush()
    assert [(line["cause"], line["times"]) for line in lines] == [(0, 1), (5, 5)]


def test_nothing_is_said_twice(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = SparingLog("trouble", every=10)
        trouble.note()
        clock.now += 20
        trouble.flush()
    assert len(lines) == 1


def test_the_level_is_that_of_the_trouble(clock: Clock) -> None:
    with capture_logs() as lines:
        SparingLog("trouble", level="error").note()
    assert lines[0]["log_level"] == "error"


def test_what_is_left_at_the_end_is_said_then(clock: Clock) -> None:
    with capture_logs() as lines:
        trouble = SparingLog("trouble", every=10)
        for number in range(3):
            trouble.note(cause=number)
        trouble.close()
        trouble.close()
    assert [(line["cause"], line["times"]) for line in lines] == [(0, 1), (2, 2)]
