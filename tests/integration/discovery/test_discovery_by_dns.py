"""The worker finds its rngs by DNS alone, while they are added, stopped, killed, frozen and started again.

Each test ends with the accounts: what the worker logged is in Redis and was hashed, to the last hash.
"""

import signal
import time

from integration.discovery.mine import SHARE_WINDOW, SPEED_OF_ONE, Mine

from bench.dns_server import Mood

WHAT_TWO_CAN_DO = 2 * SPEED_OF_ONE
WHAT_THREE_CAN_DO = 3 * SPEED_OF_ONE


def test_new_replicas_get_their_share_within_three_seconds(mine: Mine) -> None:
    mine.start_rngs(1)
    mine.start_worker()
    added = mine.start_rngs(2, 3)
    mine.until_shared(added, limit=3, since=time.monotonic())
    mine.finish()
    assert mine.random.asked_again == 0


def test_one_that_is_told_to_stop_is_gone_soon_and_nothing_is_asked_again(mine: Mine) -> None:
    mine.start_rngs(1, 2, 3)
    mine.start_worker()
    began = time.monotonic()
    assert mine.rngs[2].stop() == 0
    assert time.monotonic() - began <= 3.5
    mine.forget(2)
    time.sleep(1)
    assert mine.hashed.slowest(began, time.monotonic(), SHARE_WINDOW) >= 0.9 * WHAT_TWO_CAN_DO
    mine.finish()
    assert mine.random.asked_again == 0
    assert "broken" not in mine.worker.text


def test_when_one_is_killed_the_others_have_taken_over_within_a_second(mine: Mine) -> None:
    mine.start_rngs(1, 2, 3)
    mine.start_worker()
    began = time.monotonic()
    mine.rngs[2].kill()
    mine.forget(2)
    time.sleep(3.5)
    assert mine.hashed.slowest(began + 1, began + 3.5, SHARE_WINDOW) >= 0.9 * WHAT_TWO_CAN_DO
    mine.finish()


def test_when_one_is_frozen_the_others_have_taken_over_within_three_seconds_until_it_is_back(mine: Mine) -> None:
    _, victim, _ = mine.start_rngs(1, 2, 3)
    mine.start_worker()
    began = time.monotonic()
    mine.rngs[2].send(signal.SIGSTOP)
    time.sleep(6)
    assert mine.hashed.slowest(began + 3, began + 6, SHARE_WINDOW) >= 0.9 * WHAT_TWO_CAN_DO
    mine.rngs[2].send(signal.SIGCONT)
    mine.until_shared([victim], limit=5, since=time.monotonic())
    mine.finish()


def test_mining_resumes_within_two_seconds_when_all_were_away_and_are_back(mine: Mine) -> None:
    mine.start_rngs(1)
    mine.start_worker()
    mine.rngs[1].kill()
    mine.forget(1)
    time.sleep(6)
    mine.start_rngs(1)
    began = time.monotonic()
    mine.until(lambda now: mine.random.speed(began, now) > 0, limit=2, since=began)
    mine.finish()


def test_a_name_server_in_trouble_costs_no_speed(mine: Mine) -> None:
    mine.start_rngs(1, 2, 3)
    mine.start_worker()
    time.sleep(1)
    for mood in (Mood.EMPTY, Mood.FAILING, Mood.SILENT, Mood.SLOW):
        mine.dns.mood = mood
        began, queries = time.monotonic(), mine.dns.queries
        time.sleep(6)
        assert mine.hashed.speed(began, time.monotonic()) >= 0.95 * WHAT_THREE_CAN_DO, mood
        assert mine.dns.queries > queries, mood
    mine.finish()


def test_restarting_one_after_the_other_loses_nothing_and_never_halves_the_speed(mine: Mine) -> None:
    mine.start_rngs(1, 2, 3)
    mine.start_worker()
    began = time.monotonic()
    restarted = []
    for number in (1, 2, 3):
        assert mine.rngs[number].stop() == 0
        mine.forget(number)
        restarted += mine.start_rngs(number)
    mine.until_shared(restarted, limit=3, since=time.monotonic())
    assert mine.hashed.slowest(began, time.monotonic(), 1) >= 0.5 * WHAT_THREE_CAN_DO
    mine.finish()
    assert mine.random.asked_again == 0
