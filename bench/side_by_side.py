"""What something costs: CPU a hash of rng, hasher and worker together, with it and without.

Two systems mine at the same time: in turns, the machine changes by more than what is measured from one to the other.
On a busy one, ten pairs are wrong by 3 % in turns and by 1 % side by side. Each pair has processes of its own, since
two of the same program may differ, too.
"""

import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import progress
from bench.bound import AtLeast, AtMost, Bound
from bench.spread import Spread
from bench.system import Servers
from bench.turn import Turn, take_turn

System = Callable[[Path], AbstractContextManager[Servers]]
"""Starts one in a folder."""


@dataclass(frozen=True)
class Pairs:
    """Turns with and without, one of each a pair."""

    what: str
    """What is there or not."""
    turns: list[tuple[Turn, Turn]]

    @property
    def _ratios(self) -> list[float]:
        return [having.cpu_a_million / lacking.cpu_a_million for having, lacking in self.turns]

    def lines(self, title: str) -> Iterator[str]:
        """The table."""
        yield f"CPU {title}, seconds a million hashes, of rng, hasher and worker"
        yield f"{'pair':>7} {'with ' + self.what:>14} {'without':>10} {'ratio':>7} {'million hashes/s':>17}"
        for number, ((having, lacking), ratio) in enumerate(zip(self.turns, self._ratios, strict=True), 1):
            speeds = f"{having.speed / 1e6:.2f} {lacking.speed / 1e6:.2f}"
            yield f"{number:>7} {having.cpu_a_million:>14.3f} {lacking.cpu_a_million:>10.3f} {ratio:>7.3f} {speeds:>17}"

    def speed_at_least(self, part: float) -> list[Bound]:
        """That it leaves so large a part of the speed without it."""
        ratios = [having.speed / lacking.speed for having, lacking in self.turns]
        name = f"speed with {self.what}, of that without"
        return [AtLeast(name, statistics.median(ratios), part, Spread(ratios).noise)]

    def at_most(self, times: float) -> list[Bound]:
        """That it costs no more than so many times the CPU a hash without it."""
        mean, noise = statistics.mean(self._ratios), Spread(self._ratios).noise
        return [AtMost(f"CPU a hash with {self.what}, times that without", mean, times, noise)]


@dataclass(frozen=True)
class Comparison:
    """Two kinds of system that differ in one thing."""

    what: str
    """The thing."""
    having: System
    lacking: System

    def measure(self, pairs: int, seconds: float, folder: Path) -> Pairs:
        """Pairs of turns of so many seconds. Raises BenchError when a service does not do its work."""
        turns = []
        with ThreadPoolExecutor(2) as both:
            for number in range(pairs):
                progress.show(f"CPU a hash with and without {self.what}: pair {number + 1} of {pairs}")
                # Who starts first takes turns.
                kinds = (self.having, self.lacking) if number % 2 else (self.lacking, self.having)
                with kinds[0](folder) as first, kinds[1](folder) as second:
                    taken = list(both.map(partial(take_turn, settings={}, seconds=seconds), (first, second)))
                turns.append((taken[kinds.index(self.having)], taken[kinds.index(self.lacking)]))
        progress.show("")
        return Pairs(self.what, turns)
