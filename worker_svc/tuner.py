"""Trials of batch sizes and windows on the running pipeline: nothing is mined in vain."""

import asyncio
from collections.abc import Callable

from chassis import log
from worker_svc.batch import Batch
from worker_svc.compass_search import Outcome, Point, Search

LEAST_BATCHES = 12
"""Batches that a trial takes at least."""


class Tuner:
    """Sets what a search asks for, and tells it what came of it."""

    def __init__(self, search: Search, apply: Callable[[Point], None]) -> None:
        self._search = search
        self._apply = apply
        self._trial = next(search)
        self._log = log.get()
        self._loop = asyncio.get_running_loop()
        self._began = self._first = 0.0
        self._hashes = 0
        self._latencies: list[float] = []
        self._outcome: asyncio.Future[Outcome] | None = None

    @property
    def best(self) -> Point:
        """The best point known."""
        return self._trial.best

    async def run(self) -> None:
        """Follow the search until cancelled."""
        while True:
            self._apply(self._trial.point)
            self._began = self._loop.time()
            self._latencies.clear()
            self._outcome = self._loop.create_future()
            outcome = await self._outcome
            previous, self._trial = self._trial, self._search.send(outcome)
            if self.best != previous.best:
                self._log.info("tuned", **self.best._asdict(), speed=round(outcome.speed))

    def count(self, batch: Batch, now: float) -> None:
        """A batch is done; those begun before the trial are no part of it."""
        if batch.begun < self._began or self._outcome is None or self._outcome.done():
            return
        if not self._latencies:
            self._first = now
            self._hashes = -batch.count
        self._latencies.append(now - batch.begun)
        self._hashes += batch.count
        spent = now - self._first
        if spent >= self._trial.seconds and len(self._latencies) >= LEAST_BATCHES:
            self._outcome.set_result(Outcome(self._hashes / spent, _nearly_all(self._latencies)))


def _nearly_all(latencies: list[float]) -> float:
    """The 99th percentile of all but the worst, which may be a hiccup of the machine."""
    ordered = sorted(latencies)[:-1]
    return ordered[-(len(ordered) // 100) - 1]
