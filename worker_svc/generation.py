"""One channel and the streams opened on it, which live together and end together.

A new channel asks DNS again, and with equal arguments it reuses the connections there are.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

import grpc

from worker_svc.backoff import Backoff, sleep_unless
from worker_svc.batch import Batch
from worker_svc.batch_stream import BatchStream, StreamBroken

READY_LIMIT = 1.0
"""Seconds in which a new channel must have a backend; otherwise the generation before it goes on."""

FIRST_ATTEMPT_LIMIT = 10.0
"""Seconds in which it must have one where its first attempt takes that long: a name server may be slow, and a channel
that were closed before the answer would never get one."""

SETTLING_TIME = 0.2
"""Seconds from the first backend's being ready to the others': streams opened at once all land on the first."""

OPEN_LIMIT = 0.5
"""Seconds in which a server is expected to name itself on a new stream; one that takes longer joins in later."""

# More, where no other backend answers: a server that does not name itself joins with its first answer.
FIRST_ANSWER_LIMIT_S = 2.0

MAX_WAVES_IN_VAIN = 2
"""Attempts in a row that find only backends that hang, after which those known must do for this generation."""

STREAMS_A_BACKEND = 2
"""While one stream's batch is worked on, the next one's travels. It also lets a pool see that it knows all backends:
round robin has come round to each of them again."""

DRAIN_LIMIT = 30.0
"""Seconds in which an ended generation is to be answered what it is owed. Far longer than the longest honest queue: a
hundred classic workers on one serial rng wait 10 s each."""

CAUSE_LIMIT = 0.5
"""Seconds in which gRPC is to say why a channel has no backend; if it knows, it says so at once."""

_ANY_METHOD = "/grpc.health.v1.Health/Check"

HOPELESS = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}
)
"""Ends that asking again can't mend."""


class Owner(Protocol):
    """Whoever has batches to ask for; what a generation tells it."""

    def opened(self, *streams: BatchStream) -> None:
        """These take batches from now on, and their backends are known."""

    def answered(self, stream: BatchStream, batch: Batch, answer: memoryview) -> None:
        """A stream no longer owes that batch."""

    def retired(self, stream: BatchStream) -> None:
        """A stream takes no more batches, and ends when it is answered."""

    def failed(self, error: BaseException) -> None:
        """One of these raised what it must not."""

    def ended(self, stream: BatchStream, broken: StreamBroken | None) -> None:
        """A stream is over; what it still owes must be asked for again."""


class Generation:
    """Opens streams until it has two a backend, keeps that many until it is retired, then lets them end."""

    def __init__(  # noqa: PLR0913 - what a pool knows when it makes one
        self,
        channel: grpc.aio.Channel,
        open_stream: Callable[[grpc.aio.Channel], BatchStream],
        owner: Owner,
        *,
        max_streams: int,
        expected: int,
        others_answer: bool,
    ) -> None:
        """On a new channel, which so many backends are expected to be found with."""
        self._channel = channel
        self._open_stream = open_stream
        self._owner = owner
        self._max_streams = max_streams
        self._others_answer = others_answer
        self._expected = max(expected, 1)
        self._streams: set[BatchStream] = set()
        self._keepers: set[asyncio.Task[None]] = set()
        self._standing_by: list[BatchStream] | None = []
        """Open streams that must not take batches yet; None once all do."""
        self._retired = asyncio.Event()

    @property
    def backends(self) -> list[str]:
        """Whom there are streams to, by name, sorted."""
        return sorted({stream.backend for stream in self._streams if stream.backend is not None})

    async def open(self) -> None:
        """Wait for a backend and open streams, which take batches once all of them are open.

        Raises TimeoutError, which says what took too long, when no backend is ready or opens a stream in time.
        """
        await self._ready()
        await asyncio.sleep(SETTLING_TIME)
        await self._grow()
        # All at once: the first one alone would be given everything that waits.
        streams, self._standing_by = self._standing_by or [], None
        self._owner.opened(*streams)

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(READY_LIMIT):
                await self._channel.channel_ready()
        except TimeoutError:
            async with asyncio.timeout(FIRST_ATTEMPT_LIMIT - READY_LIMIT):
                while (state := self._channel.get_state()) is grpc.ChannelConnectivity.CONNECTING:
                    await self._channel.wait_for_state_change(state)
            if state is not grpc.ChannelConnectivity.READY:
                raise TimeoutError(f"no connection in {READY_LIMIT:g} s") from None

    async def cause(self) -> str:
        """Why the channel has no backend, in gRPC's words; nothing where it has one, or does not know."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return ""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_ANY_METHOD)
        try:
            await call(b"", timeout=CAUSE_LIMIT)
        except grpc.aio.AioRpcError as error:
            return (error.details() or "") if error.code() is grpc.StatusCode.UNAVAILABLE else ""
        return ""

    async def _grow(self) -> None:
        """Open streams until each backend that named itself has two, or there are as many as allowed.

        One that hangs while it opens is of a frozen backend: it counts for none, and round robin goes on behind it.
        There are two for each expected backend at least: when one comes or goes while streams open, round robin begins
        anew, and the first two may both be of one of many.
        """
        backends: set[str | None] = set()
        hanging = 0
        in_vain = 0
        while (
            more := min(self._max_streams, STREAMS_A_BACKEND * max(len(backends), self._expected) + hanging)
            - len(self._keepers)
        ) > 0:
            wave = {self._open_one() for _ in range(more)}
            opened, hung = await asyncio.wait(wave, timeout=OPEN_LIMIT)
            if not opened and not backends and not self._others_answer:
                opened, hung = await asyncio.wait(
                    wave, timeout=FIRST_ANSWER_LIMIT_S, return_when=asyncio.FIRST_COMPLETED
                )
            backends.update(each.result() for each in opened)
            hanging += len(hung)
            in_vain = 0 if opened else in_vain + 1
            if not backends:
                waited = OPEN_LIMIT + (0 if self._others_answer else FIRST_ANSWER_LIMIT_S)
                raise TimeoutError(f"it accepts streams, and answers nothing on them for {waited:g} s")
            if in_vain == MAX_WAVES_IN_VAIN:
                return

    def _open_one(self) -> "asyncio.Future[str | None]":
        opened: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        keeper = asyncio.create_task(self._keep(opened))
        keeper.add_done_callback(self._look_at)
        self._keepers.add(keeper)
        return opened

    def _look_at(self, keeper: "asyncio.Task[None]") -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._owner.failed(error)

    async def _keep(self, opened: "asyncio.Future[str | None]") -> None:
        """Have one stream open, again after each break, until the generation is retired."""
        backoff = Backoff()

        def on_open(stream: BatchStream) -> None:
            if not opened.done():
                opened.set_result(stream.backend)
            if self._standing_by is not None:
                self._standing_by.append(stream)
            elif not self._retired.is_set():
                self._owner.opened(stream)

        def on_answer(stream: BatchStream, batch: Batch, answer: memoryview) -> None:
            backoff.reset()
            self._owner.answered(stream, batch, answer)

        while not self._retired.is_set():
            stream = self._open_stream(self._channel)
            self._streams.add(stream)
            broken: StreamBroken | None = None
            try:
                await stream.run(on_open, on_answer)
            except StreamBroken as error:
                broken = error
            finally:
                self._streams.discard(stream)
                if self._standing_by and stream in self._standing_by:
                    self._standing_by.remove(stream)
                self._owner.ended(stream, broken)
            if broken is not None:
                pause = backoff.slowest() if broken.code in HOPELESS else backoff.pause()
                await sleep_unless(self._retired, pause)

    def retire(self, *, but: Collection[str] = ()) -> None:
        """Open no more streams, and half-close those there are, `but` those to these backends."""
        self._retired.set()
        for stream in self._streams:
            if stream.backend not in but:
                self._owner.retired(stream)
                stream.half_close()

    async def drain(self, limit: float) -> int:
        """Wait until the last stream has ended, for `limit` seconds at most, and close the channel.

        Returns how many streams were given up.
        """
        self.retire()
        late: set[asyncio.Task[None]] = set()
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=limit)
            for keeper in late:
                keeper.cancel()
            await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._channel.close()
        return len(late)
