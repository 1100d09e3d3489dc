"""One stream to one backend: batches go out, their answers come back."""

import asyncio
from collections import deque
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from chassis.metadata import MAX_NAME, SERVED_BY
from worker_svc.batch import Batch
from worker_svc.eager_start import EagerStart
from worker_svc.step import Step

# Many servers send headers with their first response only; ours send them at once, unless they are overloaded.
PROBE_DELAY_S = 0.5

# What a server without a name is sent first. No batch of the pipeline has this id, and the worker counts none that has.
PROBE_ID = 0

_PROBE = Batch(PROBE_ID, count=1, message_size=1, begun=0.0, data=b"\0")


class StreamBroken(Exception):  # noqa: N818 - named for what happened, as gRPC's own status is no error class either
    """A stream ended other than OK with nothing unanswered. Its batches may be asked again on another."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class BatchStream:
    """Asks for batches on one gRPC stream and matches the answers by batch id."""

    def __init__(
        self,
        call: "grpc.aio.StreamStreamCall[bytes, bytes]",
        step: Step,
        address: str,
        number: int = 0,
        *,
        probe_delay: float = PROBE_DELAY_S,
    ) -> None:
        """On this call, whose number logs name it by.

        A server that does not name itself is called by its address. It is sent a probe after so many seconds.
        """
        self.number = number
        self._call = call
        self._step = step
        self._address = address
        self._probe_delay = probe_delay
        self.owed: dict[int, tuple[Batch, float]] = {}
        """Asked for and not answered, by id, with the moment at which that was, the oldest first."""
        self.backend: str | None = None
        """Who serves it, once that is known."""
        self._unsent: deque[Batch] = deque()
        self._begun: EagerStart | None = None
        """The write that ask() has begun; gRPC allows one at a time."""
        self._idle = False
        """Whether the writer waits for something to send."""
        self._to_send = asyncio.Event()
        self._closing = False
        self._probed = False

    @property
    def oldest(self) -> float:
        """When the oldest that it owes was asked for; in infinity if it owes nothing."""
        return next((asked_at for _, asked_at in self.owed.values()), float("inf"))

    def ask(self, batch: Batch, now: float) -> None:
        """Send the request for a batch as soon as the stream takes it."""
        self.owed[batch.id] = batch, now
        self._send(batch)

    def _probe(self) -> None:
        if not self._probed:
            self._probed = True
            self._send(_PROBE)

    def _send(self, batch: Batch) -> None:
        if self._idle:
            # Not in the next turn of the event loop: batches of one are 4 to 10 % faster (measured).
            self._idle = False
            self._begun = EagerStart(self._call.write(self._step.request(batch)))
        else:
            self._unsent.append(batch)
        self._to_send.set()

    def half_close(self) -> None:
        """Ask for nothing more; the stream ends when what it owes is answered. One that never opened is cancelled."""
        self._closing = True
        self._to_send.set()
        if self.backend is None:
            self._call.cancel()

    async def run(
        self, on_open: Callable[["BatchStream"], None], on_answer: Callable[["BatchStream", Batch, memoryview], None]
    ) -> None:
        """Serve the stream until it ends: return when that was asked for and nothing is owed.

        Raises StreamBroken at any other end.
        """
        writer = asyncio.create_task(self._write())
        try:
            await self._read(on_open, on_answer)
        except grpc.aio.AioRpcError as error:
            raise StreamBroken(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            # grpc.aio reports a call that was cancelled from here in the same way as a task that is.
            if not self._closing or self.owed:
                raise
        finally:
            writer.cancel()
            self._call.cancel()

    async def _read(
        self, on_open: Callable[["BatchStream"], None], on_answer: Callable[["BatchStream", Batch, memoryview], None]
    ) -> None:
        self._set_name(await self._headers())
        if self.backend is not None:
            on_open(self)
        async for response in self._call:
            answered = self._answered(response)
            if self.backend is None:
                self.backend = self._address
                on_open(self)
            if answered is not None:
                on_answer(self, *answered)
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            raise StreamBroken(code, await self._call.details() or "")
        if self.owed or not self._closing:
            raise StreamBroken(code, f"ended by the server with {len(self.owed)} batches unanswered")

    def _answered(self, response: bytes) -> tuple[Batch, memoryview] | None:
        """The batch that this answers, no longer owed, and the answer; None for the answer to the probe."""
        try:
            batch_id, answer = self._step.answer(response)
        except DecodeError:
            raise StreamBroken(grpc.StatusCode.INTERNAL, "an answer that can't be decoded") from None
        is_probe = self._probed and batch_id == PROBE_ID
        batch, _ = (_PROBE, 0.0) if is_probe else self.owed.get(batch_id, (None, 0.0))
        if batch is None:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"an answer to no batch: {batch_id}")
        if len(answer) != (size := self._step.answer_size(batch)):
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"{len(answer)} bytes for batch {batch.id}, not {size}")
        if is_probe:
            return None
        del self.owed[batch.id]
        return batch, answer

    async def _headers(self) -> grpc.aio.Metadata:
        probing = asyncio.get_running_loop().call_later(self._probe_delay, self._probe)
        try:
            return await self._call.initial_metadata()
        finally:
            probing.cancel()

    def _set_name(self, headers: grpc.aio.Metadata) -> None:
        name = headers.get(SERVED_BY)
        if name is None:
            # A call that fails has no headers either; only a response says that the server takes batches.
            self._probe()
        elif len(name) > MAX_NAME:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a name of {len(name)} characters in {SERVED_BY}")
        else:
            self.backend = str(name)

    async def _write(self) -> None:
        try:
            while True:
                if self._begun is not None:
                    await self._begun
                    self._begun = None
                while self._unsent:
                    await self._call.write(self._step.request(self._unsent.popleft()))
                if self._closing:
                    await self._call.done_writing()
                    return
                self._to_send.clear()
                self._idle = True
                await self._to_send.wait()
                self._idle = False
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            pass  # the call has ended, and whoever reads it is told how
        finally:
            if self._begun is not None:
                self._begun.abandon()
