"""Replicas are killed, frozen and all away, and the worker makes the best of what is left."""

import time

import pytest
from system.discovery.mine import Mine
from system.discovery.side_by_side import side_by_side

pytestmark = pytest.mark.alone(reason="speeds are measured, of replicas whose delays are all that may limit them")

with_tls_too = pytest.mark.parametrize("environments", ["plain", "tls"], indirect=True)

MOMENT = 1.2
"""Seconds: longer than it takes to be late, shorter than it takes gRPC to notice."""


@with_tls_too
def test_when_one_is_killed_the_others_have_taken_over_within_a_second(mines: list[Mine]) -> None:
    def kill_one(mine: Mine) -> None:
        mine.limit.start(1, 2, 3)
        mine.start_worker()
        mine.until_full_speed()
        began = time.monotonic()
        mine.limit.kill(2)
        time.sleep(3.5)
        assert mine.recovered_after(began, began + 3.5) <= 1
        mine.finish()

    side_by_side(kill_one, *mines)


@with_tls_too
def test_when_one_is_frozen_the_others_have_taken_over_within_three_seconds_until_it_is_back(
    mines: list[Mine],
) -> None:
    def freeze_one(mine: Mine) -> None:
        _, victim, _ = mine.limit.start(1, 2, 3)
        mine.start_worker()
        mine.until_full_speed()
        began = time.monotonic()
        mine.limit.freeze(2)
        time.sleep(6)
        assert mine.recovered_after(began, began + 6) <= 3
        mine.limit.unfreeze(2)
        mine.until_shared([victim], limit=5, since=time.monotonic())
        mine.finish()

    side_by_side(freeze_one, *mines)


def test_what_one_answers_that_was_frozen_for_a_moment_is_counted_once(mines: list[Mine]) -> None:
    """Others were asked meanwhile, and its connection has not been given up yet."""

    def freeze_one_for_a_moment(mine: Mine) -> None:
        mine.limit.start(1, 2, 3)
        mine.start_worker()
        mine.until_full_speed()
        mine.limit.freeze(2)
        time.sleep(MOMENT)
        mine.limit.unfreeze(2)
        time.sleep(1)
        mine.finish()
        assert mine.asked_again > 0
        assert "broken" not in mine.worker.text

    side_by_side(freeze_one_for_a_moment, *mines)


@with_tls_too
def test_mining_resumes_within_two_seconds_when_all_were_away_and_are_back(mines: list[Mine]) -> None:
    def take_all_away(mine: Mine) -> None:
        mine.limit.start(1, 2, 3)
        mine.start_worker()
        mine.until_full_speed()
        mine.limit.kill(1, 2, 3)
        time.sleep(20)
        mine.limit.start(1, 2, 3)
        began = time.monotonic()
        mine.until(lambda now: mine.hashed.speed(began, now) > 0, limit=2, since=began)
        mine.finish()

    side_by_side(take_all_away, *mines)
