"""At the end of all that can happen, in random order, the accounts are in order to the last hash.

SEED=… repeats an order, though never its timing.
"""

import os
import random
import sys
import time
from pathlib import Path

import pytest
from system.discovery.chaos import Chaos
from system.discovery.footprint import Footprint
from system.discovery.mine import Mine, mine

DELAY = 0.025
WINDOW = 12
"""Batches in flight of each of two workers."""

SOAK_SECONDS = 600.0
SILENCE_LIMIT_S = 7.5
BUSY_S = 1.0


def test_nothing_is_lost_or_counted_twice_whatever_happens(tmp_path: Path) -> None:
    with mine(tmp_path, {}, rng=DELAY, hasher=DELAY) as system:
        prepare(system).unleash()
        system.finish()


@pytest.mark.soak
@pytest.mark.timeout(2 * SOAK_SECONDS)
def test_nothing_is_lost_or_left_behind_in_ten_minutes(tmp_path: Path) -> None:
    with mine(tmp_path, {}, rng=DELAY, hasher=DELAY) as system:
        chaos = prepare(system)
        began = time.monotonic()
        chaos.unleash()
        steady = system.workers[0].popen.pid
        before = now = Footprint.least(steady)
        while time.monotonic() - began < SOAK_SECONDS:
            chaos.unleash()
            now = Footprint.least(steady)
            say(f"the first worker: {now}")
        now.check_not_grown(before)
        system.finish()


@pytest.mark.parametrize(
    "silence", [2.0, pytest.param(20.0, marks=pytest.mark.soak), pytest.param(90.0, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(300)
def test_one_that_freezes_while_nothing_flows_is_noticed(tmp_path: Path, silence: float) -> None:
    """Redis is away, so mining is paused, and only pings are on the connections."""
    with mine(tmp_path, {}, rng=DELAY, hasher=DELAY) as system:
        system.start(1, 2)
        system.start_worker(REPORT_INTERVAL=0.1)
        system.until_full_speed()
        system.redis.stop()
        system.until(lambda now: system.hashed.speed(now - 1, now) == 0, 30)
        time.sleep(silence + random.uniform(0, 5))
        began = time.monotonic()
        for limit in system.limits:
            limit.freeze(1)
        system.until(lambda _: system.worker.text.count("ping timeout") > 1, SILENCE_LIMIT_S + BUSY_S, since=began)
        say(f"noticed after {time.monotonic() - began:.1f} s")
        system.redis.start()
        system.until_full_speed()
        for limit in system.limits:
            limit.unfreeze(1)
        system.until_full_speed()
        system.finish()


def prepare(system: Mine) -> Chaos:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    say(f"SEED={seed}")
    system.start(1, 2)
    for _ in range(2):
        system.start_worker(WINDOW_SIZE=WINDOW)
    system.until_full_speed()
    return Chaos(system, seed, say)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
