"""Everything happens to replicas, workers and the name server in random order, and each hash is counted once.

SEED=… repeats an order, though never its timing.
"""

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from support.dns_server import Mood
from support.waiting import wait_until
from system.discovery.mine import Mine, mine
from system.discovery.replicas import Replicas, say

DELAY_S = 0.025

# Of each of two workers.
WINDOW_SIZE = 12

MAX_PAUSE_S = 1.0

# How long what does not last forever lasts, at least and at most.
FREEZE_S = (0.5, 6.0)
ABSENCE_S = (2.0, 8.0)
TROUBLE_S = (1.0, 6.0)

# New replicas are found in 3 s, and a frozen one is noticed in 7 s.
RECOVERY_LIMIT_S = 10.0

SILENCE_LIMIT_S = 7.5
BUSY_S = 1.0

Action = Callable[[], object]


class Chaos:
    """All that can happen once, in random order. What lasts for a while ends while other things happen."""

    def __init__(self, mine: Mine) -> None:
        """Start two workers, of which the first is left alone."""
        seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
        say(f"SEED={seed}")
        self._mine = mine
        self._order = random.Random(seed)
        # For all else: how often it is used depends on what lives at the time.
        self._random = random.Random(seed)
        self._ends: list[tuple[float, Action]] = []
        mine.start(1, 2)
        mine.worker_settings["WINDOW_SIZE"] = WINDOW_SIZE
        self.steady = mine.start_worker()
        mine.start_worker()
        mine.until_full_speed()

    def unleash(self) -> None:
        """Have all of it happen, start what is missing, and wait until the mine is at full speed."""
        ways = (self._grow, self._shrink, self._kill, self._freeze, self._remove_all, self._restart_all)
        actions: list[Action] = [
            *(partial(way, replicas) for way in ways for replicas in self._mine.services),
            *(partial(self._trouble, mood) for mood in Mood if mood is not Mood.RIGHT),
            self._kill_worker,
            self._stop_worker,
        ]
        self._order.shuffle(actions)
        for action in actions:
            action()
            self._pass_time(self._random.uniform(0, MAX_PAUSE_S))
        while self._ends:
            self._pass_time(0.1)
        for replicas in self._mine.services:
            replicas.start(*replicas.absent)
        self._mine.until_full_speed(RECOVERY_LIMIT_S)

    def _grow(self, replicas: Replicas) -> None:
        self._ensure_two(replicas)
        if not replicas.absent:
            self._kill(replicas)
        replicas.start(*replicas.absent)

    def _shrink(self, replicas: Replicas) -> None:
        live = self._ensure_two(replicas)
        replicas.stop(*self._random.sample(live, self._random.randint(1, len(live) - 1)))

    def _kill(self, replicas: Replicas) -> None:
        replicas.kill(self._random.choice(self._ensure_two(replicas)))

    def _freeze(self, replicas: Replicas) -> None:
        frozen = self._random.choice(self._ensure_two(replicas))
        process = replicas.running[frozen]
        replicas.freeze(frozen)
        end = self._random.choice((replicas.kill, replicas.unfreeze))
        self._later(FREEZE_S, lambda: replicas.running.get(frozen) is process and end(frozen))

    def _remove_all(self, replicas: Replicas) -> None:
        self._ensure_two(replicas)
        replicas.kill(*replicas.running)
        self._later(ABSENCE_S, lambda: replicas.start(*replicas.absent))

    def _restart_all(self, replicas: Replicas) -> None:
        self._ensure_two(replicas)
        for number in list(replicas.running):
            (replicas.kill if number in replicas.frozen else replicas.stop)(number)
            replicas.start(number)

    def _trouble(self, mood: Mood) -> None:
        say(f"name server {mood.name}")
        self._mine.dns.mood = mood
        self._later(TROUBLE_S, lambda: self._end_trouble(mood))

    def _end_trouble(self, mood: Mood) -> None:
        if self._mine.dns.mood is mood:
            say("name server RIGHT")
            self._mine.dns.mood = Mood.RIGHT

    def _kill_worker(self) -> None:
        say("kill the second worker")
        self._mine.worker.kill()
        self._mine.start_worker()

    def _stop_worker(self) -> None:
        say("stop the second worker")
        assert self._mine.worker.stop() == 0, self._mine.worker.text
        self._mine.start_worker()

    def _ensure_two(self, replicas: Replicas) -> list[int]:
        """Return the live replicas, of which there are at least two; wait while all are away."""
        while not replicas.running:
            self._pass_time(0.1)
        if len(replicas.live) < 2:
            replicas.start(*replicas.absent)
        return replicas.live

    def _later(self, seconds: tuple[float, float], end: Action) -> None:
        self._ends.append((time.monotonic() + self._random.uniform(*seconds), end))

    def _pass_time(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for due in [each for each in self._ends if each[0] <= time.monotonic()]:
                self._ends.remove(due)
                due[1]()
            time.sleep(0.05)


def least_held(pid: int) -> tuple[int, int, int]:
    """Return the least open files, threads and resident bytes of a process over 3 s."""
    process = psutil.Process(pid)
    moments = []
    for _ in range(60):
        moments.append((process.num_fds(), process.num_threads(), process.memory_info().rss))
        time.sleep(0.05)
    files, threads, resident = (min(values) for values in zip(*moments, strict=True))
    say(f"the first worker: {files} files, {threads} threads, {resident / 1e6:.0f} MB")
    return files, threads, resident


@pytest.mark.parametrize("seconds", [0.0, pytest.param(600.0, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
def test_nothing_is_lost_or_counted_twice_or_left_behind_whatever_happens(tmp_path: Path, seconds: float) -> None:
    with mine(tmp_path, rng=DELAY_S, hasher=DELAY_S) as system:
        chaos = Chaos(system)
        held = []
        began = time.monotonic()
        chaos.unleash()
        while time.monotonic() - began < seconds:
            held.append(least_held(chaos.steady.popen.pid))
            chaos.unleash()
        for before, now in zip(held[:1], held[-1:], strict=True):
            # Caches fill, and threads come and go.
            assert all(value <= old + more for value, old, more in zip(now, before, (2, 2, 8 << 20), strict=True))
        system.finish()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_200_replicas_are_removed_and_recreated_and_each_hash_is_counted_once(tmp_path: Path) -> None:
    with mine(tmp_path, rng=DELAY_S, hasher=DELAY_S) as system:
        system.start(1, 2, 3)
        system.start_worker()
        for removal in range(200):
            replicas, number = random.choice(system.services), random.choice((1, 2, 3))
            (replicas.stop if removal % 2 else replicas.kill)(number)
            replicas.start(number)
        system.until_full_speed(RECOVERY_LIMIT_S)
        system.finish()


@pytest.mark.parametrize("silence_s", [12.0, *(pytest.param(each, marks=pytest.mark.soak) for each in (20.0, 90.0))])
@pytest.mark.timeout(300)
def test_one_that_freezes_while_nothing_flows_is_noticed(tmp_path: Path, silence_s: float) -> None:
    """Redis is away, so mining is paused, and only pings are on the connections."""
    with mine(tmp_path, rng=DELAY_S, hasher=DELAY_S) as system:
        system.start(1, 2)
        worker = system.start_worker(REPORT_INTERVAL=0.1)
        system.until_full_speed()
        system.redis.stop()
        wait_until(lambda: system.speed == 0)
        time.sleep(silence_s + random.uniform(0, 5))
        for limit in system.limits:
            limit.freeze(1)
        seconds = wait_until(lambda: worker.text.count("ping timeout") > 1, SILENCE_LIMIT_S + BUSY_S)
        say(f"noticed after {seconds:.1f} s")
        system.redis.start()
        system.until_full_speed()
        for limit in system.limits:
            limit.unfreeze(1)
        system.until_full_speed()
        system.finish()
