import time

import pytest
from system.discovery.footprint import Footprint
from system.discovery.mine import MakeMine

pytestmark = pytest.mark.pair(reason="a footprint is the least of a moment in which nothing is half done")

GENERATION = 0.5
"""Seconds: the shortest there is, a fourth of the usual."""

WARM_UP = 5.0
SECONDS = 20.0


def test_rotations_and_replicas_that_come_and_go_leave_nothing_behind(make_mine: MakeMine) -> None:
    """About 40 generations of each pool, while every replica is killed or stopped and started again."""
    mine = make_mine(rng=0.025, hasher=0.025)
    services = (mine.rngs, mine.hashers)
    for replicas in services:
        replicas.start(1, 2, 3)
    worker = mine.start_worker()
    mine.until_full_speed()
    time.sleep(WARM_UP)
    before = Footprint.least(worker.popen.pid)
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        for replicas in services:
            for number in (1, 2):
                replicas.kill(number)
                replicas.start(number)
            replicas.stop(3)
            replicas.start(3)
    mine.until_full_speed()
    Footprint.least(worker.popen.pid).check_not_grown(before)
    mine.finish()
