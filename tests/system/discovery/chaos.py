"""All that can happen to the replicas, the workers and the name server of a mine, in an order that a seed decides."""

import random
import time
from collections.abc import Callable
from functools import partial

from support.dns_server import Mood
from system.discovery.mine import Mine
from system.discovery.replicas import Replicas

Action = Callable[[], None]

LONGEST_PAUSE = 1.0
"""Seconds between one action and the next."""

FREEZE = (0.5, 6.0)
ABSENCE = (2.0, 8.0)
TROUBLE = (1.0, 6.0)
"""Seconds that these last, at least and at most, or until what happens at that time is over."""

HEALING_LIMIT = 10.0
"""Seconds in which a mine that has all it needs is at full speed again: new replicas are found in 3, and what is lost
with a frozen one is noticed in 7."""


class Chaos:
    """A pack of cards: all that can happen once, in random order. What lasts a while ends while other things happen."""

    def __init__(self, mine: Mine, seed: int, say: Callable[[str], None]) -> None:
        """For a mine with two workers, the first of which is left alone. Says what happens as it does."""
        self._mine = mine
        self._order = random.Random(seed)
        self._random = random.Random(seed)
        """For all else: how often it is asked depends on what lives at the time."""
        self._say = say
        self._began = time.monotonic()
        self._ends: list[tuple[float, Action]] = []
        """When what is to end, and how."""

    def unleash(self) -> None:
        """Have all of it happen, mend what is left, and wait until the mine is at full speed."""
        actions = self._pack()
        self._order.shuffle(actions)
        for action in actions:
            action()
            self._pass_time(self._random.uniform(0, LONGEST_PAUSE))
        while self._ends:
            self._pass_time(0.1)
        for replicas in self._services:
            self._start(replicas)
        self._tell("all is well")
        self._mine.until_full_speed(HEALING_LIMIT)

    @property
    def _services(self) -> tuple[Replicas, Replicas]:
        return self._mine.rngs, self._mine.hashers

    def _pack(self) -> list[Action]:
        ways = (self._grow, self._shrink, self._kill, self._freeze, self._take_away, self._restart_all)
        moods = (Mood.EMPTY, Mood.FAILING, Mood.SILENT, Mood.SLOW)
        return [
            *(partial(way, replicas) for way in ways for replicas in self._services),
            *(partial(self._trouble, mood) for mood in moods),
            self._kill_worker,
            self._stop_worker,
        ]

    def _grow(self, replicas: Replicas) -> None:
        self._at_least_two(replicas)
        if not replicas.absent:
            self._kill(replicas)
        self._start(replicas)

    def _shrink(self, replicas: Replicas) -> None:
        live = self._at_least_two(replicas)
        stopped = self._random.sample(live, self._random.randint(1, len(live) - 1))
        self._tell(f"stop {replicas.service} {stopped}")
        replicas.stop(*stopped)

    def _kill(self, replicas: Replicas) -> None:
        chosen = self._random.choice(self._at_least_two(replicas))
        self._tell(f"kill {replicas.service} {chosen}")
        replicas.kill(chosen)

    def _freeze(self, replicas: Replicas) -> None:
        chosen = self._random.choice(self._at_least_two(replicas))
        process = replicas.running[chosen]
        self._tell(f"freeze {replicas.service} {chosen}")
        replicas.freeze(chosen)
        to_be_killed = self._random.random() < 0.5

        def end() -> None:
            if replicas.running.get(chosen) is not process:
                return
            self._tell(f"{'kill the frozen' if to_be_killed else 'unfreeze'} {replicas.service} {chosen}")
            (replicas.kill if to_be_killed else replicas.unfreeze)(chosen)

        self._later(FREEZE, end)

    def _take_away(self, replicas: Replicas) -> None:
        self._at_least_two(replicas)
        self._tell(f"kill {replicas.service} {[*replicas.running]}, which are all")
        replicas.kill(*replicas.running)
        self._later(ABSENCE, partial(self._start, replicas))

    def _restart_all(self, replicas: Replicas) -> None:
        self._at_least_two(replicas)
        for number in list(replicas.running):
            self._tell(f"restart {replicas.service} {number}")
            if number in replicas.frozen:
                replicas.kill(number)
            else:
                replicas.stop(number)
            replicas.start(number)

    def _trouble(self, mood: Mood) -> None:
        self._tell(f"name server {mood.name.lower()}")
        self._mine.dns.mood = mood

        def end() -> None:
            if self._mine.dns.mood is mood:
                self._tell("name server right")
                self._mine.dns.mood = Mood.RIGHT

        self._later(TROUBLE, end)

    def _kill_worker(self) -> None:
        self._tell("kill the second worker")
        self._mine.worker.kill()
        self._mine.start_worker()

    def _stop_worker(self) -> None:
        self._tell("stop the second worker")
        assert self._mine.worker.stop() == 0, self._mine.worker.text
        self._mine.start_worker()

    def _at_least_two(self, replicas: Replicas) -> list[int]:
        """Those that live, so many that one can be spared; waits while all are away."""
        while not replicas.running:
            self._pass_time(0.1)
        if len(replicas.live) < 2:
            self._start(replicas)
        return replicas.live

    def _start(self, replicas: Replicas) -> None:
        if absent := replicas.absent:
            self._tell(f"start {replicas.service} {absent}")
            replicas.start(*absent)

    def _later(self, seconds: tuple[float, float], end: Action) -> None:
        self._ends.append((time.monotonic() + self._random.uniform(*seconds), end))

    def _pass_time(self, seconds: float) -> None:
        """Wait so long at least, and end what is to end by then."""
        deadline = time.monotonic() + seconds
        while True:
            for due, end in list(self._ends):
                if time.monotonic() >= due:
                    self._ends.remove((due, end))
                    end()
            if time.monotonic() >= deadline:
                return
            time.sleep(0.05)

    def _tell(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s {what}")
