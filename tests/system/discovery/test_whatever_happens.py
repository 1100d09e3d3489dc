"""At the end of everything that can happen in random order, the accounts are in order to the last hash.

SEED=… repeats an order, though never its timing.
"""

import os
import random
import sys
import time

import pytest
from system.discovery.footprint import Footprint
from system.discovery.mine import MakeMine, Mine
from system.discovery.mishaps import Mishaps

pytestmark = pytest.mark.pair(reason="what is healed is at full speed within 10 s")

DELAY = 0.025
WINDOW = 12
"""Batches in flight of each of two workers."""

SOAK_SECONDS = 600.0


def test_nothing_is_lost_or_counted_twice_in_a_minute(make_mine: MakeMine) -> None:
    mine, mishaps = _prepare(make_mine)
    mishaps.deal()
    mine.finish()


@pytest.mark.soak
@pytest.mark.timeout(2 * SOAK_SECONDS)
def test_nothing_is_lost_or_counted_twice_or_left_behind_in_ten_minutes(make_mine: MakeMine) -> None:
    mine, mishaps = _prepare(make_mine)
    began = time.monotonic()
    mishaps.deal()
    steady = mine.workers[0].popen.pid
    before = now = Footprint.least(steady)
    while time.monotonic() - began < SOAK_SECONDS:
        mishaps.deal()
        now = Footprint.least(steady)
        _say(f"the first worker: {now}")
    now.check_not_grown(before)
    mine.finish()


def _prepare(make_mine: MakeMine) -> tuple[Mine, Mishaps]:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    _say(f"SEED={seed}")
    mine = make_mine(rng=DELAY, hasher=DELAY)
    for replicas in (mine.rngs, mine.hashers):
        replicas.start(1, 2)
    for _ in range(2):
        mine.start_worker(WINDOW_SIZE=WINDOW)
    mine.until_full_speed()
    return mine, Mishaps(mine, seed, _say)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
