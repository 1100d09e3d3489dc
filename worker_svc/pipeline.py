"""The way of a batch: begun, random, hashed, counted."""

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from chassis.timing import TIMER_SLACK_S
from worker_svc.batch import Batch, BatchTrace

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Tracing


class StageClient(Protocol):
    """Gets the responses of one stage: a pool, or what a load test compares with it."""

    on_completed: Callable[[Batch], None]
    """Takes the batches that have their response."""

    def submit(self, batch: Batch) -> None:
        """Get a response for a batch."""


class Pipeline:
    """Keeps a window of batches in flight: a slow stage fills the window and so slows the one before it."""

    def __init__(  # noqa: PLR0913 - one a setting
        self,
        rng: StageClient,
        hasher: StageClient,
        *,
        batch_size: int,
        message_size: int,
        window: int,
        delay: float,
        on_begin: Callable[[float], None],
        on_done: Callable[[Batch, float], None],
        tracing: "Tracing | None" = None,
    ) -> None:
        """A pipeline that holds `window` batches; each of them waits `delay` seconds before its first request."""
        self._rng = rng
        self._rng.on_completed = self._random_done
        self._hasher = hasher
        self._hasher.on_completed = self._hash_done
        self.batch_size = batch_size
        """Messages in the batches that begin now."""
        self._message_size = message_size
        self.window = window
        """Batches in flight at most; those above it after it became smaller still go on."""
        self._delay = delay
        self._on_begin = on_begin
        self._on_done = on_done
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._in_flight: dict[int, Batch] = {}
        self._delayed: dict[int, asyncio.TimerHandle] = {}
        self._last_id = 0
        self._running = False
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def resize(self, batch_size: int, window: int) -> None:
        """Have the batches that begin from now on hold so many messages, and so many of them in flight."""
        self.batch_size = batch_size
        self.window = window
        if self._running:
            self.resume()

    @property
    def oldest(self) -> float | None:
        """When the oldest batch in flight began, on the event loop's clock."""
        return next((batch.begun for batch in self._in_flight.values()), None)

    def resume(self) -> None:
        """Begin batches until the window is full, and a new one for each that is done. Nothing once it drains."""
        if self._draining:
            return
        self._running = True
        while len(self._in_flight) < self.window:
            self.begin(self._loop.time())

    def pause(self) -> None:
        """Begin no more batches; those in flight go on."""
        self._running = False

    @property
    def in_flight(self) -> Collection[Batch]:
        """Those begun and not counted, the oldest first."""
        return self._in_flight.values()

    @property
    def has_room(self) -> bool:
        """Whether another batch fits into the window."""
        return len(self._in_flight) < self.window and not self._draining

    def begin(self, begun: float) -> None:
        """Begin a batch; its time counts from this moment on the event loop's clock, which may have passed."""
        self._last_id += 1
        batch = Batch(self._last_id, self.batch_size, self._message_size, begun)
        if self._tracing is not None:
            batch.trace = BatchTrace.begin(self._tracing, batch)
        self._in_flight[batch.id] = batch
        self._empty.clear()
        self._on_begin(begun)
        if self._delay:
            due = begun + self._delay - TIMER_SLACK_S
            self._delayed[batch.id] = self._loop.call_at(due, self._request_random, batch)
        else:
            self._rng.submit(batch)

    def _request_random(self, batch: Batch) -> None:
        del self._delayed[batch.id]
        self._rng.submit(batch)

    def _random_done(self, batch: Batch) -> None:
        """The batch has its random bytes."""
        self._hasher.submit(batch)

    def _hash_done(self, batch: Batch) -> None:
        """The batch has its digests: count it, once, and begin another in its place."""
        if self._in_flight.pop(batch.id, None) is None:
            return
        now = self._loop.time()
        self._on_done(batch, now)
        if batch.trace is not None:
            batch.trace.counted()
        if self._running:
            if len(self._in_flight) < self.window:
                self.begin(now)
        elif not self._in_flight:
            self._empty.set()

    async def drain(self) -> None:
        """Begin nothing more, and wait until all that was submitted is counted."""
        self._running = False
        self._draining = True
        for batch_id, timer in self._delayed.items():
            timer.cancel()
            _drop(self._in_flight.pop(batch_id))
        self._delayed.clear()
        try:
            if self._in_flight:
                await self._empty.wait()
        except asyncio.CancelledError:
            for batch in self._in_flight.values():
                _drop(batch)
            raise


def _drop(batch: Batch) -> None:
    if batch.trace is not None:
        batch.trace.dropped()
