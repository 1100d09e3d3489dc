"""Finds the fastest batch size and window, by trying the neighbours of the best ones on the running pipeline.

Pattern search (Kolda, Lewis and Torczon, "Optimization by Direct Search", SIAM Review 45(3), 2003) on a grid of powers
of two: each neighbour of the best sizes is a candidate, and one that is better replaces them. It needs no model of the
system and no derivative, and it never ends, so that it follows when the system changes. Measurements are noisy: a
candidate and what it is compared with take turns, and the interval of their ratio decides, as in a load test.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from chassis import log
from chassis.ratio import Ratio, ratio
from worker_svc.batch import Batch
from worker_svc.settings import Sizes, WorkerSettings

PROBE_S = 0.5

# In the steady state, in which no neighbour was better, the best sizes are measured as often between two candidates.
STEADY_TURNS = 8

MIN_BATCHES = 12

# The numbers of turns after which the interval is looked at, at first only to drop a candidate that is clearly worse:
# three turns may be those in which the machine changed. One that has not won after the last look is dropped, too.
LOOKS = (3, 6, 12, 24)

# Sizes are larger only for a gain of this part, and smaller for a loss of less against the fastest ones.
MARGIN = 0.02

# The system has changed if the speed in the steady state surely differs by this part from one measurement to the next.
CHANGE = 0.15

# The part of the target latency that sizes may take, so that it holds between measurements, too.
HEADROOM = 0.9


class Measured(NamedTuple):
    """The hashes per second with some sizes, and the seconds in which nearly all batches were counted."""

    speed: float
    latency: float


class _Move(NamedTuple):
    batch_size: float
    window: float

    @property
    def grows(self) -> bool:
        return self.batch_size * self.window >= 1

    def apply(self, sizes: Sizes) -> Sizes:
        return Sizes(int(sizes.batch_size * self.batch_size), int(sizes.window * self.window))


_MOVES = (_Move(2, 1), _Move(1, 2), _Move(0.5, 2), _Move(1, 0.5), _Move(0.5, 1))


class Autotuner:
    """Measures candidates with the batches that are mined anyway."""

    def __init__(self, settings: WorkerSettings, apply: Callable[[Sizes], None]) -> None:
        """Search from the initial sizes within what the settings allow; `apply` resizes the pipeline."""
        self.best = settings.initial_sizes
        # The best sizes and the evidence for them, for an annotation; "" at first.
        self.reason = ""
        self._allows = settings.allows
        self._max_latency = HEADROOM * settings.target_latency
        self._apply = apply
        self._log = log.get()
        self._loop = asyncio.get_running_loop()
        self._began = self._first = self._seconds = 0.0
        self._hashes = 0
        self._latencies: list[float] = []
        self._measured: asyncio.Future[Measured] | None = None

    async def run(self) -> None:
        """Search until cancelled."""
        moves = deque(_MOVES)
        in_vain = 0
        steady: list[float] = []
        # The best sizes are the smallest that are as fast as these.
        fastest = self.best
        while True:
            is_steady = in_vain >= len(moves)
            if is_steady:
                before, steady = steady, [await self._probe(self.best) for _ in range(STEADY_TURNS)]
                change = ratio(before, steady, CHANGE) if before else None
                if change and (change.low > 1 + CHANGE or change.high < 1 - CHANGE):
                    in_vain = 0
            move = moves[0]
            candidate = move.apply(self.best)
            base = self.best if move.grows else fastest
            gain = None
            if min(candidate) >= 1 and self._allows(candidate):
                gain = await self._compare(base, candidate, grows=move.grows)
                if gain and is_steady:
                    gain = await self._compare(base, candidate, grows=move.grows)
            if gain:
                self._move(candidate, f"{gain} of {base.batch_size} x {base.window}")
                if gain.low > 1:
                    fastest = candidate
                in_vain = 0
                steady = []
            else:
                in_vain += 1
                moves.rotate(-1)

    def _move(self, sizes: Sizes, why: str) -> None:
        self.best = sizes
        self.reason = f"{sizes.batch_size} x {sizes.window} {why}"
        self._log.info("autotuned", **sizes._asdict(), why=why)

    async def _compare(self, base: Sizes, candidate: Sizes, *, grows: bool) -> Ratio | None:
        """Return the ratio of the candidate's speed to that of the base if it is evidence for the candidate."""
        scores: tuple[list[float], list[float]] = ([], [])
        for turn in range(1, LOOKS[-1] + 1):
            for sizes, those in zip((base, candidate), scores, strict=True):
                those.append(await self._probe(sizes))
            if turn in LOOKS:
                found = ratio(*scores, MARGIN)
                is_first = turn == LOOKS[0]
                if found is None or found.high < (1 + MARGIN if grows and not is_first else 1 - MARGIN):
                    return None
                is_better = found.low > 1 and found.value >= 1 + MARGIN if grows else found.low >= 1 - MARGIN
                if is_better and not is_first:
                    return found
        return None

    async def _probe(self, sizes: Sizes) -> float:
        """Return the speed, divided by the square of the factor by which the latency is too high."""
        measured = await self.measure(sizes, PROBE_S)
        return measured.speed / max(measured.latency / self._max_latency, 1) ** 2

    async def measure(self, sizes: Sizes, seconds: float) -> Measured:
        """Mine with these sizes until enough batches were counted, for that many seconds at least."""
        self._apply(sizes)
        self._began = self._loop.time()
        self._seconds = seconds
        self._latencies.clear()
        self._measured = self._loop.create_future()
        return await self._measured

    def count(self, batch: Batch, now: float) -> None:
        """Measure a batch that was counted now, if it has begun with the sizes that are measured."""
        if batch.begun < self._began or self._measured is None or self._measured.done():
            return
        if not self._latencies:
            self._first = now
            self._hashes = -batch.count
        self._latencies.append(now - batch.begun)
        self._hashes += batch.count
        spent = now - self._first
        if spent >= self._seconds and len(self._latencies) >= MIN_BATCHES:
            # The 99th percentile of all but the worst, which may be a hiccup of the machine.
            latencies = sorted(self._latencies)[:-1]
            latency = latencies[-(len(latencies) // 100) - 1]
            self._measured.set_result(Measured(self._hashes / spent, latency))
