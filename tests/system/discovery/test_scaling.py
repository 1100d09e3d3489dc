"""Replicas come and go by the name server's word alone, and everybody who should has a share."""

import time

import pytest
from system.discovery.mine import Mine
from system.discovery.side_by_side import side_by_side

pytestmark = [
    pytest.mark.alone(reason="shares and speeds are measured, of replicas whose delays are all that may limit them"),
    pytest.mark.parametrize("environments", ["plain", "tls"], indirect=True),
]

STOP_LIMIT = 3.5
"""Seconds after which a replica that was told to stop is gone."""


def test_new_replicas_get_their_share_within_three_seconds(mines: list[Mine]) -> None:
    def grow(mine: Mine) -> None:
        mine.limit.start(1)
        mine.start_worker()
        mine.until_full_speed()
        added = mine.limit.start(2, 3)
        mine.until_shared(added, limit=3, since=time.monotonic())
        mine.finish()
        assert "broken" not in mine.worker.text

    side_by_side(grow, *mines)


def test_one_that_is_told_to_stop_is_gone_soon_and_nothing_is_asked_again(mines: list[Mine]) -> None:
    side_by_side(lambda mine: _shrink(mine, 2), *mines)


def test_so_are_two_of_three_that_are_told_at_once(mines: list[Mine]) -> None:
    side_by_side(lambda mine: _shrink(mine, 1, 3), *mines)


def _shrink(mine: Mine, *victims: int) -> None:
    mine.limit.start(1, 2, 3)
    mine.start_worker()
    mine.until_full_speed()
    began = time.monotonic()
    assert mine.limit.stop(*victims) <= STOP_LIMIT
    time.sleep(1)
    assert mine.recovered_after(began, time.monotonic()) == 0
    mine.finish()
    assert mine.asked_again == 0
    assert "broken" not in mine.worker.text


def test_restarting_one_after_the_other_loses_nothing_and_never_halves_the_speed(mines: list[Mine]) -> None:
    def restart_twice(mine: Mine) -> None:
        mine.limit.start(1, 2, 3)
        mine.start_worker()
        mine.until_full_speed()
        full = mine.full_speed
        began = time.monotonic()
        for _ in range(2):
            restarted = []
            for number in (1, 2, 3):
                assert mine.limit.stop(number) <= STOP_LIMIT
                restarted += mine.limit.start(number)
        mine.until_shared(restarted, limit=3, since=time.monotonic())
        assert mine.hashed.slowest(began, time.monotonic(), 1) >= 0.5 * full
        mine.finish()
        assert "broken" not in mine.worker.text

    side_by_side(restart_twice, *mines)
