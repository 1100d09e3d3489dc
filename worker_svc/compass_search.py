"""Which batch size and window are fastest, found by trying neighbours.

Compass search (Kolda, Lewis and Torczon, "Optimization by Direct Search", SIAM Review 45(3), 2003) on a grid of powers
of two: from the best point known, each neighbour is tried; one that is better becomes the best. It needs no model of
the system and no derivative, and it never ends, so that it follows when the system changes. Measurements are noisy:
a neighbour is compared with what was measured right before it, and a small gain must show twice.
"""

from collections import deque
from collections.abc import Callable, Generator
from typing import NamedTuple, NoReturn

PROBE = 0.5
"""Seconds for which a neighbour is tried."""

SECOND_LOOK = 1.5
"""Seconds for which one with a small gain is tried again, once no neighbour of the best point was better before."""

REST = 4.0
"""Seconds at the best point between trials then: a ninth of the time goes into them, and less than that is lost."""

CLEAR_GAIN = 0.25
"""A gain that needs no second look."""

CHANGE = 0.15
"""Part by which the speed of one rest differs from that of the last when the system has changed."""

HEADROOM = 0.9
"""Part of the target latency that a point may take, so that it stays under the target between trials."""


class Point(NamedTuple):
    """What is chosen."""

    batch_size: int
    window: int


class Trial(NamedTuple):
    """A point, and for how many seconds it is to be measured."""

    point: Point
    seconds: float
    best: Point
    """The best point known, which the trial's may be."""


class Outcome(NamedTuple):
    """What was measured."""

    speed: float
    """Hashes a second."""
    latency: float
    """Seconds in which nearly all batches were done."""


Search = Generator[Trial, Outcome, NoReturn]


class _Move(NamedTuple):
    batch_size: float
    window: float
    least_gain: float
    """Part by which the score must rise: a smaller window is taken where it is no slower, since latency falls."""

    def of(self, point: Point) -> Point:
        return Point(int(point.batch_size * self.batch_size), int(point.window * self.window))


_MOVES = (
    _Move(2, 1, 0.0),
    _Move(1, 2, 0.03),
    _Move(1, 0.5, -0.01),
    _Move(0.5, 1, 0.015),
)


def compass_search(start: Point, allowed: Callable[[Point], bool], target_latency: float) -> Search:
    """Trials to be measured one after the other, without end.

    A point whose latency is above the target (seconds) scores less than its speed, by the square of the excess.
    """
    best = start
    moves = deque(_MOVES)
    in_vain = 0
    rest_speed = 0.0

    def score(outcome: Outcome) -> float:
        return outcome.speed / max(outcome.latency / (HEADROOM * target_latency), 1) ** 2

    while True:
        at_rest = in_vain >= len(moves)
        base = yield Trial(best, REST if at_rest else PROBE, best)
        if at_rest:
            if rest_speed and abs(base.speed / rest_speed - 1) > CHANGE:
                in_vain = 0
            rest_speed = base.speed
        move = moves[0]
        candidate = move.of(best)
        gain = -1.0
        if min(candidate) >= 1 and allowed(candidate):
            gain = score((yield Trial(candidate, PROBE, best))) / score(base) - 1
            if move.least_gain < gain < CLEAR_GAIN:
                seconds = SECOND_LOOK if at_rest else PROBE
                base = yield Trial(best, seconds, best)
                gain = score((yield Trial(candidate, seconds, best))) / score(base) - 1
        if gain > move.least_gain:
            best = candidate
            in_vain = 0
            rest_speed = 0.0
        else:
            in_vain += 1
            moves.rotate(-1)
