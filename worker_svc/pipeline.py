"""The life of a batch: it begins, gets random bytes from rng and digests from hasher, and is counted."""

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from chassis.timing import TIMER_SLACK_S, sleep_unless
from worker_svc.batch import Batch, BatchTrace

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Tracing


class StageClient(Protocol):
    """Gets the responses of one stage: a pool or, in a load test, unary calls."""

    def send(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        """Send a batch, and call `on_response` with the payload of its response, however many attempts that takes."""


# Yields the stages to which a batch is sent, and gets the payloads of the responses.
Life = Generator[StageClient, Any, None]


class Pipeline:
    """Keeps a window of batches in flight over both stages, so that a slow stage slows the one before it."""

    def __init__(  # noqa: PLR0913 - one per setting
        self,
        rng: StageClient,
        hasher: StageClient,
        *,
        batch_size: int,
        message_size: int,
        window: int,
        delay: float,
        on_counted: Sequence[Callable[[Batch, float], None]],
        tracing: "Tracing | None" = None,
    ) -> None:
        """Keep `window` batches in flight, each of which waits `delay` seconds before its first request."""
        # The messages of a new batch, and the most batches in flight. Batches above a smaller window complete.
        self.batch_size = batch_size
        self.window = window
        self._rng = rng
        self._hasher = hasher
        self._message_size = message_size
        self._delay = delay
        self._on_counted = on_counted
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        # By id, the oldest first; and the timers of those that wait before their first request.
        self._in_flight: dict[int, Batch] = {}
        self._delayed: dict[int, asyncio.TimerHandle] = {}
        self._last_id = 0
        self._running = False
        self._draining = False
        self._drained = asyncio.Event()

    @property
    def in_flight(self) -> Collection[Batch]:
        """The batches that have begun and are not counted, the oldest first."""
        return self._in_flight.values()

    @property
    def oldest(self) -> float | None:
        """When the oldest batch in flight began, on the event loop's clock."""
        return next((batch.begun for batch in self._in_flight.values()), None)

    @property
    def has_room(self) -> bool:
        """Whether another batch fits into the window."""
        return len(self._in_flight) < self.window and not self._draining

    def resume(self) -> None:
        """Begin batches until the window is full, and a new one for each that is counted. Does nothing in a drain."""
        self._running = True
        while self.has_room:
            self.begin(self._loop.time())

    def pause(self) -> None:
        """Begin no more batches; those in flight go on."""
        self._running = False

    def resize(self, batch_size: int, window: int) -> None:
        """Change the number of messages in the batches that begin from now on, and of batches in flight."""
        self.batch_size = batch_size
        self.window = window
        if self._running:
            self.resume()

    async def drain(self, limit_s: float) -> list[Batch]:
        """Begin nothing more, and wait at most `limit_s` seconds until all batches that were sent are counted.

        Returns the batches without a response, which are dropped.
        """
        self._draining = True
        for batch_id, timer in self._delayed.items():
            timer.cancel()
            self._drop(self._in_flight[batch_id])
        if self._in_flight:
            await sleep_unless(self._drained, limit_s)
        dropped = list(self._in_flight.values())
        for batch in dropped:
            self._drop(batch)
        return dropped

    def begin(self, begun: float) -> None:
        """Begin a batch. `begun` is on the event loop's clock, and may be in the past where a load test is late."""
        self._last_id += 1
        batch = self._in_flight[self._last_id] = Batch(self._last_id, self.batch_size, self._message_size, begun)
        if self._tracing is not None:
            batch.trace = BatchTrace.begin(self._tracing, batch)
        life = self._live(batch)
        if self._delay:
            at = begun + self._delay - TIMER_SLACK_S
            self._delayed[batch.id] = self._loop.call_at(at, self._advance, batch, life)
        else:
            self._advance(batch, life)

    def _live(self, batch: Batch) -> Life:
        """Take a batch from its first request until it is counted, and begin the next one in its slot of the window.

        Each `yield` sends the batch to a stage, and returns the payload of the response. This is no coroutine, because
        that waits for a future per stage, each of which takes another turn of the event loop, 25 us while gRPC's thread
        wants the interpreter's lock: 10 % of the speed with one batch in flight (measured).
        """
        self._delayed.pop(batch.id, None)
        batch.data = yield self._rng
        batch.digests = yield self._hasher
        now = self._loop.time()
        del self._in_flight[batch.id]
        for on_counted in self._on_counted:
            on_counted(batch, now)
        if batch.trace is not None:
            batch.trace.counted()
        if self._running and self.has_room:
            self.begin(now)
        elif self._draining and not self._in_flight:
            self._drained.set()

    def _advance(self, batch: Batch, life: Life, payload: memoryview | None = None) -> None:
        """Let a batch live on with a response, if it is not dropped, until it is sent to the next stage or counted."""
        if batch.id not in self._in_flight:
            return
        try:
            stage = life.send(payload)
        except StopIteration:
            return
        stage.send(batch, partial(self._advance, batch, life))

    def _drop(self, batch: Batch) -> None:
        del self._in_flight[batch.id]
        if batch.trace is not None:
            batch.trace.dropped()
