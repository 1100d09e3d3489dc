import time

import pytest
from system.discovery.mine import MakeMine, Mine
from system.discovery.side_by_side import side_by_side

from bench.dns_server import Mood

pytestmark = pytest.mark.alone(reason="the speeds of five mines are compared to a twentieth")

SECONDS = 20.0

DELAY = 0.025
"""Seconds: five mines at this speed leave the machine time to spare."""


def test_a_name_server_in_trouble_costs_no_speed(make_mine: MakeMine) -> None:
    """Empty, failing, silent and slow at the same time, beside one that is right; all alike in all else."""
    right = make_mine(rng=DELAY)
    troubled = {mood: make_mine(rng=DELAY) for mood in (Mood.EMPTY, Mood.FAILING, Mood.SILENT, Mood.SLOW)}
    side_by_side(_start, right, *troubled.values())
    for mood, mine in troubled.items():
        mine.dns.mood = mood
    began = time.monotonic()
    queries = {mood: mine.dns.queries for mood, mine in troubled.items()}
    time.sleep(SECONDS)
    expected = right.hashed.speed(began, began + SECONDS)
    for mood, mine in troubled.items():
        assert mine.hashed.speed(began, began + SECONDS) >= 0.95 * expected, mood
        assert mine.dns.queries > queries[mood], mood
    side_by_side(Mine.finish, right, *troubled.values())


def test_a_name_server_that_takes_longer_than_a_new_channel_may_is_waited_for(make_mine: MakeMine) -> None:
    mine = make_mine(rng=DELAY)
    mine.dns.mood = Mood.SLOW
    mine.dns.delay = 1.5
    mine.limit.start(1)
    mine.start_worker()
    mine.until_full_speed(limit=10)
    mine.finish()


def _start(mine: Mine) -> None:
    mine.limit.start(1, 2)
    mine.start_worker()
    mine.until_full_speed()
