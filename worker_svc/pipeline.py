"""The life of a batch: it begins, gets random bytes from rng and digests from hasher, and is counted."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from chassis.timing import TIMER_SLACK_S, sleep_unless
from worker_svc.batch import Batch, BatchTrace

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Tracing


class StageClient(Protocol):
    """Gets the responses of one stage: a pool or, in a load test, unary calls."""

    def response(self, batch: Batch) -> Awaitable[memoryview]:
        """Return the payload of the response to a batch, however many attempts it takes."""


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
        self._tasks = asyncio.TaskGroup()
        self._in_flight: dict[int, Batch] = {}
        self._last_id = 0
        self._running = False
        self._draining = asyncio.Event()
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
        return len(self._in_flight) < self.window and not self._draining.is_set()

    async def run(self) -> None:
        """Process batches until all are drained, or until cancelled.

        Raises what `on_counted` raised, which is a defect, in an ExceptionGroup.
        """
        try:
            async with self._tasks:
                await self._draining.wait()
        finally:
            for batch in list(self._in_flight.values()):
                self._drop(batch)
            self._drained.set()

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

    async def drain(self) -> None:
        """Begin nothing more, and wait until all batches that were sent are counted."""
        self._draining.set()
        await self._drained.wait()

    def begin(self, begun: float) -> None:
        """Begin a batch. `begun` is on the event loop's clock, and may be in the past where a load test is late."""
        self._tasks.create_task(self._process(self._create(begun)))

    def _create(self, begun: float) -> Batch:
        self._last_id += 1
        batch = self._in_flight[self._last_id] = Batch(self._last_id, self.batch_size, self._message_size, begun)
        if self._tracing is not None:
            batch.trace = BatchTrace.begin(self._tracing, batch)
        return batch

    async def _process(self, batch: Batch) -> None:
        """Take a batch from its beginning until it is counted, and then the next one in its slot of the window.

        Two futures per batch take 3 to 5 us more than callbacks, about 1 % of all CPU at 256 messages per batch. A task
        for each batch, rather than for each slot of the window, would take as much again.
        """
        while True:
            if self._delay:
                await sleep_unless(self._draining, batch.begun + self._delay - TIMER_SLACK_S - self._loop.time())
                if self._draining.is_set():
                    self._drop(batch)
                    break
            batch.data = await self._rng.response(batch)
            batch.digests = await self._hasher.response(batch)
            now = self._loop.time()
            del self._in_flight[batch.id]
            for on_counted in self._on_counted:
                on_counted(batch, now)
            if batch.trace is not None:
                batch.trace.counted()
            if not self._running or not self.has_room:
                break
            batch = self._create(now)

    def _drop(self, batch: Batch) -> None:
        del self._in_flight[batch.id]
        if batch.trace is not None:
            batch.trace.dropped()
