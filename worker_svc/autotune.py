"""Finds the fastest batch size and window, by trying the neighbours of the best ones on the running pipeline.

Pattern search (Kolda, Lewis and Torczon, "Optimization by Direct Search", SIAM Review 45(3), 2003) on a grid of powers
of two: each neighbour of the best sizes is a candidate, and one that is better replaces them. It needs no model of the
system and no derivative, and it never ends, so that it follows when the system changes. Measurements are noisy: a
candidate is compared with what was measured right before it, and a small gain must show twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from chassis import log
from worker_svc.batch import Batch
from worker_svc.settings import Sizes, WorkerSettings

PROBE_S = 0.5

# In the steady state, in which no neighbour was better, the best sizes are measured for longer between two candidates:
# a ninth of the time goes into candidates, and less than that is lost. A small gain is then measured for longer, too.
STEADY_S = 4.0
STEADY_PROBE_S = 1.5

MIN_BATCHES = 12

# A gain that needs no second measurement.
CLEAR_GAIN = 0.25

# The system has changed if the speed in the steady state differs by this part from one measurement to the next.
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
    # The part by which the score must rise: a smaller window is taken where it is no slower, since latency falls.
    min_gain: float

    def apply(self, sizes: Sizes) -> Sizes:
        return Sizes(int(sizes.batch_size * self.batch_size), int(sizes.window * self.window))


_MOVES = (
    _Move(2, 1, 0.0),
    _Move(1, 2, 0.03),
    _Move(1, 0.5, -0.01),
    _Move(0.5, 1, 0.015),
)


class Autotuner:
    """Measures candidates with the batches that are mined anyway."""

    def __init__(self, settings: WorkerSettings, apply: Callable[[Sizes], None]) -> None:
        """Search from the initial sizes within what the settings allow; `apply` resizes the pipeline."""
        self.best = settings.initial_sizes
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
        steady_speed = 0.0
        while True:
            is_steady = in_vain >= len(moves)
            base = await self.measure(self.best, STEADY_S if is_steady else PROBE_S)
            if is_steady:
                if steady_speed and abs(base.speed / steady_speed - 1) > CHANGE:
                    in_vain = 0
                steady_speed = base.speed
            move = moves[0]
            candidate = move.apply(self.best)
            gain = -1.0
            if min(candidate) >= 1 and self._allows(candidate):
                measured = await self.measure(candidate, PROBE_S)
                gain = self._gain(measured, base)
                if move.min_gain < gain < CLEAR_GAIN:
                    seconds = STEADY_PROBE_S if is_steady else PROBE_S
                    base = await self.measure(self.best, seconds)
                    measured = await self.measure(candidate, seconds)
                    gain = self._gain(measured, base)
            if gain > move.min_gain:
                self.best = candidate
                self._log.info("autotuned", **candidate._asdict(), speed=round(measured.speed))
                in_vain = 0
                steady_speed = 0.0
            else:
                in_vain += 1
                moves.rotate(-1)

    def _gain(self, candidate: Measured, base: Measured) -> float:
        return self._score(candidate) / self._score(base) - 1

    def _score(self, measured: Measured) -> float:
        """Return the speed, divided by the square of the factor by which the latency is too high."""
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
