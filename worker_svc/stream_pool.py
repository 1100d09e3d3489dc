"""The streams to one service: which backend gets the next batch, and when to look for backends again.

gRPC balances when a stream opens and resolves names only when a connection drops, so a long-lived stream never sees a
new replica. Therefore streams live two seconds: every generation is a new channel, which asks DNS again, and streams
opened there, while the old ones answer what they owe and end.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable

import grpc

from chassis import grpc_options, log
from chassis.metadata import CLIENT_ID
from chassis.sparing_log import SparingLog
from worker_svc.backend import Backend
from worker_svc.backoff import LAST
from worker_svc.batch import Batch
from worker_svc.batch_stream import BatchStream, StreamBroken
from worker_svc.generation import DRAIN_LIMIT, HOPELESS, Generation
from worker_svc.step import Step

JITTER = 0.1
"""Part of a generation by which its length varies, so that workers started together do not rotate together."""

RETRY_PAUSE = 0.05
"""Seconds between attempts at a channel while there is no backend at all."""

ABSENCE_LIMIT = 3.0
"""Seconds without a backend that need no mention: all services start at the same time, or one is started again."""


class StreamPool:
    """Asks for one step of batches, of whichever backend owes least."""

    def __init__(  # noqa: PLR0913 - one a setting
        self,
        step: Step,
        target: str,
        *,
        client_id: str,
        streams: int,
        window: int,
        generation: float,
        on_backends: Callable[[], None],
    ) -> None:
        """A pool for at most `window` batches on at most `streams` streams, each of them open `generation` seconds."""
        self._step = step
        self._target = target
        self._metadata = ((CLIENT_ID, client_id),)
        self._options = grpc_options.client(step.service)
        self._max_streams = streams
        self._window = window
        self._length = generation
        self.on_answer: Callable[[Batch], None] = _unwanted
        """Whom to give the answered batches."""
        self._on_backends = on_backends
        self._current: Generation | None = None
        self._generations: list[Generation] = []
        self._backends: dict[str, Backend] = {}
        self._waiting: deque[Batch] = deque()
        self._draining: set[asyncio.Task[None]] = set()
        self._known: list[str] = []
        self._turns = 0
        self._hopeless = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open_streams = 0
        self._log = log.get(to=step.name)
        self._breaks = SparingLog("stream broken", every=1.0, to=step.name)
        self._refusals = SparingLog("stream refused, trying again seldom", level="error", to=step.name)
        self._absences = SparingLog("no backend, still trying", to=step.name)

    @property
    def backends(self) -> list[str]:
        """The names of the backends that take batches now, sorted."""
        return sorted(backend.name for backend in self._backends.values() if backend.streams)

    def submit(self, batch: Batch) -> None:
        """Have a batch answered, however many attempts it takes; it waits here while no stream has room."""
        self._waiting.append(batch)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and (stream := self._next_stream()) is not None:
            backend = self._backends[stream.backend or ""]
            backend.owed += 1
            self._turns += 1
            backend.turn = self._turns
            backend.streams.remove(stream)
            backend.streams.append(stream)
            stream.ask(self._waiting.popleft())

    def _next_stream(self) -> BatchStream | None:
        # Twice an equal share: a fast backend may take more, a frozen one can't swallow the window.
        share = -(-2 * self._window // max(self._open_streams, 1))
        chosen: tuple[tuple[int, int], BatchStream] | None = None
        for backend in self._backends.values():
            rank = (backend.owed, backend.turn)
            if backend.streams and (chosen is None or rank < chosen[0]):
                stream = min(backend.streams, key=_owed)
                if len(stream.owed) < share:
                    chosen = (rank, stream)
        return chosen[1] if chosen else None

    def opened(self, *streams: BatchStream) -> None:
        """Give these streams their share of the batches."""
        for stream in streams:
            name = stream.backend or ""
            self._backends.setdefault(name, Backend(name)).streams.append(stream)
        self._open_streams += len(streams)
        self._dispatch()
        self._say_backends()

    def answered(self, stream: BatchStream, batch: Batch) -> None:
        """Pass the batch on, and ask for one that waits."""
        self._backends[stream.backend or ""].owed -= 1
        self.on_answer(batch)
        if self._waiting:
            self._dispatch()

    def ended(self, stream: BatchStream, broken: StreamBroken | None) -> None:
        """Ask for what the stream still owes on others, before anything newer."""
        self._withdraw(stream)
        if broken is not None:
            self._hopeless = broken.code in HOPELESS
            self._say_broken(stream, broken)
        backend = self._backends.get(stream.backend or "")
        if backend is not None:
            backend.owed -= len(stream.owed)
            if not backend.owed and not backend.streams:
                del self._backends[backend.name]
        self._waiting.extendleft(reversed(stream.owed.values()))
        self._dispatch()
        self._say_backends()

    def retired(self, stream: BatchStream) -> None:
        """Ask nothing more of this stream."""
        self._withdraw(stream)

    def _withdraw(self, stream: BatchStream) -> None:
        backend = self._backends.get(stream.backend or "")
        if backend and stream in backend.streams:
            backend.streams.remove(stream)
            self._open_streams -= 1

    def _say_broken(self, stream: BatchStream, broken: StreamBroken) -> None:
        kind = self._refusals if broken.code in HOPELESS else self._breaks
        kind.note(backend=stream.backend, code=broken.code.name, details=broken.details, unanswered=len(stream.owed))

    async def run(self) -> None:
        """Keep a generation of streams open, a new one every few seconds, until cancelled.

        Raises what a stream's callbacks raised, which is a defect.
        """
        loop = asyncio.get_running_loop()
        present = loop.time()
        while True:
            began = loop.time()
            await self._rotate()
            if self.backends:
                present = loop.time()
                length = self._length * random.uniform(1 - JITTER, 1)  # noqa: S311 - jitter is no secret
                await self._pause(length - (loop.time() - began))
            else:
                if loop.time() - present > ABSENCE_LIMIT:
                    self._absences.note(target=self._target)
                await self._pause(LAST if self._hopeless else RETRY_PAUSE)

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait((self._failure,), timeout=max(seconds, 0))
        if self._failure.done():
            self._failure.result()

    def failed(self, error: BaseException) -> None:
        """Have run() raise this."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _rotate(self) -> None:
        channel = grpc.aio.insecure_channel(self._target, options=self._options)
        generation = Generation(channel, self._open_stream, self)
        self._generations.append(generation)
        try:
            await generation.open(self._max_streams)
        except TimeoutError:
            self._retire(generation)
        else:
            previous, self._current = self._current, generation
            if previous is not None:
                self._retire(previous)

    def _open_stream(self, channel: grpc.aio.Channel) -> BatchStream:
        return BatchStream(self._step.method(channel)(metadata=self._metadata, wait_for_ready=True), self._step)

    def _retire(self, generation: Generation) -> None:
        generation.retire()
        task = asyncio.create_task(self._drain(generation))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, generation: Generation) -> None:
        await generation.drain(DRAIN_LIMIT)
        self._generations.remove(generation)

    async def close(self, limit: float) -> None:
        """Half-close all streams, and cancel after `limit` seconds what has not ended by then. Ends run() first."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*(generation.drain(limit) for generation in self._generations))

    def _say_backends(self) -> None:
        known, self._known = self._known, self.backends
        if self._known != known:
            self._log.info("backends", count=len(self._known), names=" ".join(self._known))
            self._on_backends()


def _owed(stream: BatchStream) -> int:
    return len(stream.owed)


def _unwanted(batch: Batch) -> None:
    raise AssertionError(f"nobody wants the answer to batch {batch.id}")
