"""One address of a service: its channel, and two long-lived streams on it while its server serves.

gRPC balances only when a stream opens, so a channel leads to one address, and the picker balances batches.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from chassis.batch_limits import DIGEST_SIZE
from chassis.grpc_client import InstrumentedMethod, failure, is_cancelled, is_unhealthy, is_untrusted
from chassis.grpc_options import MAX_NAME, SERVED_BY
from chassis.large_fields import MIN_LARGE_BYTES
from chassis.settings import Certificates
from worker_svc.batch import Batch
from worker_svc.retry import PERMANENT
from worker_svc.stage import Stage

# While the server processes a batch of one stream, the next batch travels on the other.
STREAMS_PER_ENDPOINT = 2

# Payload of a message with several batches, at most, in either direction. A large batch is encoded without a copy where
# it is alone.
MAX_SHARED_BYTES = 256 * 1024

# If all servers become NOT_SERVING within this time, their streams are not drained.
LEAVING_DELAY_S = 0.15

# The intervals at which the cause of a failure is polled: while streams may have to be drained for it, and otherwise.
CAUSE_INTERVAL_S = 0.05
IDLE_CAUSE_INTERVAL_S = 0.2

# Many servers send headers with their first response only, so after this time without headers a stream is probed with a
# batch. Ours send headers at once, unless they are overloaded.
PROBE_DELAY_S = 0.5

# grpc.aio reports INTERNAL with these words when a connection is lost during a write (grpcio 1.85).
_WRITE_FAILED = "Internal error from Core"

# The batch of one byte with which a stream is probed. No batch of the pipeline has this id.
PROBE_ID = 0
_PROBE = Batch(PROBE_ID, count=1, message_size=1, begun=0.0, data=b"\0")


def _payload_bytes(batch: Batch) -> int:
    return batch.count * max(batch.message_size, DIGEST_SIZE)


class StreamBroken(Exception):  # noqa: N818 - named for what happened, as gRPC's own status is no error class either
    """A stream failed, or ended with batches outstanding. They may be retried on another stream."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        if details == _WRITE_FAILED:
            code, details = grpc.StatusCode.UNAVAILABLE, "the connection was lost while a request was sent"
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details
        self.is_permanent = code in PERMANENT


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt to send a batch on a stream."""

    batch: Batch
    # On the event loop's clock.
    sent_at: float
    # Whether no other batch may be in its message: it is large, was in a message that failed, or is hedged.
    alone: bool = False
    # Whether it has exceeded the hedging delay.
    overdue: bool = False


class Stream:
    """One gRPC stream: batches go out, and responses are matched by batch id."""

    def __init__(self, endpoint: "Endpoint", stage: Stage, method: InstrumentedMethod, max_batches: int) -> None:
        """Send at most `max_batches` in one message."""
        self.endpoint = endpoint
        # The name of the process that serves it, once that is known; its address, where the server sends no name.
        self.replica = ""
        # By batch id, the oldest first.
        self.outstanding: dict[int, Attempt] = {}
        self.half_closed = False
        # When the newest batch that has a response had been sent.
        self.newest_sent_at = 0.0
        # Whether a batch other than a probe has a response.
        self.has_completed = False
        self._stage = stage
        self._counts = method.counts
        self._max_batches = max_batches
        # What is to be sent, and whether there is something or the stream is half-closed.
        self._waiting: deque[Attempt] = deque()
        self._wake = asyncio.Event()
        self._aborted = ""
        # The server logs the number, too.
        self.number, self._call = method.open(endpoint.channel, self._requests())

    @property
    def oldest_sent_at(self) -> float:
        """When the oldest outstanding batch was sent; infinity if there is none."""
        return next((attempt.sent_at for attempt in self.outstanding.values()), float("inf"))

    @property
    def joinable(self) -> int:
        """The number of batches in the unsent message that another batch can join; 0 if there is none."""
        return len(self._waiting) if self._waiting and not self._waiting[-1].alone else 0

    def send(self, batch: Batch, now: float, *, alone: bool = False) -> None:
        """Send a batch as soon as the stream takes it, in one message with the others that wait, or alone."""
        alone = alone or _payload_bytes(batch) >= MIN_LARGE_BYTES
        attempt = self.outstanding[batch.id] = Attempt(batch, now, alone)
        self._waiting.append(attempt)
        self._wake.set()

    def probe(self) -> None:
        """Send a batch of one byte that is not counted, to see whether the server responds on this stream."""
        if PROBE_ID not in self.outstanding:
            self.send(_PROBE, asyncio.get_running_loop().time())

    def half_close(self) -> None:
        """Send nothing more; the stream ends when nothing is outstanding. A stream that has not joined is cancelled."""
        if not self.half_closed:
            self.half_closed = True
            self._wake.set()
        if not self.replica:
            self._call.cancel()

    def abort(self, reason: str) -> None:
        """End the stream as broken."""
        self._aborted = reason
        self._call.cancel()

    async def run(
        self, on_join: Callable[["Stream"], None], on_response: Callable[["Stream", Attempt, memoryview], None]
    ) -> None:
        """Process responses until the stream is half-closed and nothing is outstanding. Raises StreamBroken otherwise.

        Calls `on_join` when the replica is known, and `on_response` with each attempt that has a response and the
        payload; it must remove the attempt.
        """
        try:
            name = await self._served_by()
            if name and not self.half_closed:
                self.replica = name
                on_join(self)
            else:
                # A call that fails has no headers either; only a response says that the server takes batches.
                self.probe()
            async for response in self._call:
                self._counts.received += 1
                for batch_id, payload in self._decode(response):
                    attempt = self._match(batch_id, payload)
                    self.newest_sent_at = attempt.sent_at
                    if attempt.batch is _PROBE:
                        await self._probed(on_join)
                    else:
                        self.has_completed = True
                        on_response(self, attempt, payload)
        except grpc.aio.AioRpcError as error:
            raise StreamBroken(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            # grpc.aio raises CancelledError both when this call and when this task was cancelled.
            is_ours = self._aborted or (self.half_closed and not self.replica)
            if is_cancelled() or not is_ours:
                raise
            if self._aborted:
                raise StreamBroken(grpc.StatusCode.DEADLINE_EXCEEDED, self._aborted) from None
            self.outstanding.clear()
        finally:
            self._call.cancel()
            self.outstanding.pop(PROBE_ID, None)
            # A call that has ended by itself leaves the task that waits for its requests.
            self._waiting.clear()
            self._wake.set()
        if self.outstanding or not self.half_closed:
            details = f"ended by the server with {len(self.outstanding)} batches outstanding"
            raise StreamBroken(grpc.StatusCode.OK, details)

    async def _probed(self, on_join: Callable[["Stream"], None]) -> None:
        del self.outstanding[PROBE_ID]
        if not self.replica and not self.half_closed:
            self.replica = await self._served_by() or self.endpoint.address[:MAX_NAME]
            on_join(self)

    async def _requests(self) -> AsyncIterator[bytes]:
        while not self.half_closed and not self._call.done():
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._counts.sent += 1
                yield self._stage.request(self._take())

    def _take(self) -> list[Batch]:
        """Take the batches of the next message, as many as wait and it may have."""
        taken: list[Batch] = []
        size = 0
        while self._waiting and len(taken) < self._max_batches:
            attempt = self._waiting[0]
            size += MAX_SHARED_BYTES if attempt.alone else _payload_bytes(attempt.batch)
            if taken and size > MAX_SHARED_BYTES:
                break
            taken.append(self._waiting.popleft().batch)
        return taken

    async def _served_by(self) -> str:
        """Return the server's name; nothing if it sends none, or no headers within PROBE_DELAY_S."""
        name = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_DELAY_S):
                name = str((await self._call.initial_metadata()).get(SERVED_BY, ""))
        if len(name) > MAX_NAME:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a name of {len(name)} characters in {SERVED_BY}")
        return name

    def _decode(self, response: bytes) -> list[tuple[int, memoryview]]:
        try:
            return self._stage.response(response)
        except DecodeError:
            raise StreamBroken(grpc.StatusCode.INTERNAL, "a response that can't be decoded") from None

    def _match(self, batch_id: int, payload: memoryview) -> Attempt:
        attempt = self.outstanding.get(batch_id)
        if attempt is None:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a response to no batch: {batch_id}")
        if len(payload) != (size := self._stage.payload_size(attempt.batch)):
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"{len(payload)} bytes for batch {batch_id}, not {size}")
        return attempt


@dataclass(eq=False)
class Endpoint:
    """One connection to an address.

    1. It connects.
    2. It serves, with its streams open, while the channel is READY, which includes the server's health.
    3. It leaves when the channel is not ready, DNS does not name the address any more, or certificates were renewed: it
       opens no more streams, and those that are open take batches until others serve.
    4. It drains: its streams are half-closed, and complete what is outstanding.
    5. It closes, and the pool opens another endpoint in its place.
    """

    address: str
    channel: grpc.aio.Channel
    certificates: Certificates | None
    # Keeps one stream open until the endpoint has left.
    keep_stream: Callable[["Endpoint"], Coroutine[Any, Any, None]]
    # Called when it has left, and when its streams may be drained.
    on_change: Callable[[], None]
    # The last known name of the replica at this address.
    name: str
    # Why it does not serve, if that is known.
    cause: str = ""
    streams: set[Stream] = field(default_factory=set)
    # Set when it opens no more streams; those that are open take batches until others serve.
    left: asyncio.Event = field(default_factory=asyncio.Event)
    # Whether its streams drain once others serve.
    may_drain: bool = False
    # Whether they drain even if none does: the server has closed the connection, rather than reported NOT_SERVING.
    must_drain: bool = False
    _keeping: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def serving(self) -> bool:
        """Whether it has a joined stream and has not left."""
        return not self.left.is_set() and any(stream.replica for stream in self.streams)

    def leave(self) -> None:
        """Open no more streams, and let those that are open be drained."""
        self.left.set()
        self.may_drain = True
        for stream in self.streams:
            if not stream.replica:
                stream.half_close()

    async def run(self, pause: float) -> None:
        """Connect after a pause in seconds, serve until it leaves, drain, close. Raises what `keep_stream` raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(pause, tasks))
                await self.left.wait()
                if self._keeping:
                    await asyncio.wait(self._keeping)
                watching.cancel()
        finally:
            await self.channel.close()

    async def _watch(self, pause: float, tasks: asyncio.TaskGroup) -> None:
        """Follow the channel: it is ready while there is a connection and the server's health is SERVING."""
        await asyncio.sleep(pause)
        while not self.must_drain:
            state = self.channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY and not self._keeping:
                self.cause = "it accepts streams, but sends no response"
                self._keeping = [tasks.create_task(self.keep_stream(self)) for _ in range(STREAMS_PER_ENDPOINT)]
            elif self._keeping and not self.left.is_set():
                self.left.set()
                self.on_change()
                await asyncio.sleep(LEAVING_DELAY_S)
                self.leave()
                self.on_change()
            if state is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                await self.channel.wait_for_state_change(state)
                continue
            # The state stays TRANSIENT_FAILURE across failures, so poll for the cause.
            self.cause = await failure(self.channel, secure=self.certificates is not None) or self.cause
            if is_untrusted(self.cause):
                self.leave()  # the channel would retry too often
                self.on_change()
            self.must_drain = self.left.is_set() and not is_unhealthy(self.cause)
            await asyncio.sleep(CAUSE_INTERVAL_S if self.streams else IDLE_CAUSE_INTERVAL_S)
        self.on_change()
