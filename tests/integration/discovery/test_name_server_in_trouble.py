import time

from integration.discovery.mine import MakeMine, Mine
from integration.discovery.side_by_side import side_by_side

from bench.dns_server import Mood

SECONDS = 20.0

DELAY = 0.05
"""Seconds: four mines at this speed leave the machine time to spare."""


def test_a_name_server_in_trouble_costs_no_speed(make_mine: MakeMine) -> None:
    """Empty, failing, silent and slow at the same time, each in a mine of its own, two of them short of hashers."""
    moods = {
        make_mine(rng=DELAY): Mood.EMPTY,
        make_mine(hasher=DELAY): Mood.FAILING,
        make_mine(rng=DELAY, hasher=DELAY): Mood.SILENT,
        make_mine(hasher=DELAY, rng=DELAY): Mood.SLOW,
    }

    def be_in_a_mood(mine: Mine) -> None:
        for limit in mine.limits:
            limit.start(1, 2)
        mine.start_worker()
        mine.until_full_speed()
        time.sleep(1)
        mine.dns.mood = moods[mine]
        began, queries = time.monotonic(), mine.dns.queries
        time.sleep(SECONDS)
        assert mine.hashed.speed(began, began + SECONDS) >= 0.95 * mine.full_speed, moods[mine]
        assert mine.dns.queries > queries
        mine.finish()
        assert mine.asked_again == 0

    side_by_side(be_in_a_mood, *moods)
