import math

import pytest

from worker_svc.hedging import LATE_FACTOR, LEAST_LATE, Hedging


def test_nothing_is_late_before_the_first_answer() -> None:
    assert Hedging(8).late_after == math.inf


def test_late_is_several_times_the_usual_latency() -> None:
    hedging = Hedging(8)
    for _ in range(100):
        hedging.answered(1.0)
    assert hedging.late_after == pytest.approx(LATE_FACTOR)


def test_late_is_bounded_below() -> None:
    hedging = Hedging(8)
    hedging.answered(0.001)
    assert hedging.late_after == LEAST_LATE


def test_one_odd_answer_changes_little_and_many_change_what_is_usual() -> None:
    hedging = Hedging(8)
    for _ in range(100):
        hedging.answered(0.2)
    hedging.answered(2.0)
    assert hedging.late_after < LATE_FACTOR * 0.3
    for _ in range(200):
        hedging.answered(2.0)
    assert hedging.late_after == pytest.approx(LATE_FACTOR * 2, rel=0.01)


def test_one_in_twenty_may_be_asked_twice() -> None:
    hedging = Hedging(8)
    spent = 0
    for _ in range(1_000):
        hedging.asked()
        if hedging.affordable:
            hedging.spend()
            spent += 1
    assert 49 <= spent <= 50


def test_there_is_no_budget_at_the_start() -> None:
    assert not Hedging(8).affordable


def test_what_is_saved_up_is_bounded() -> None:
    hedging = Hedging(3)
    for _ in range(1_000):
        hedging.asked()
    for _ in range(3):
        assert hedging.affordable
        hedging.spend()
    assert not hedging.affordable
