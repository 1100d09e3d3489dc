"""One address of a service: its channel, and two long-lived streams on it while its server serves.

gRPC balances only when a stream opens, so a channel leads to one address, and the picker balances batches.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from chassis.grpc_client import InstrumentedMethod, failure, is_unhealthy, is_untrusted
from chassis.grpc_options import CLIENT_ID, MAX_NAME, SERVED_BY, STREAM_ID
from chassis.settings import Certificates
from worker_svc.batch import Batch
from worker_svc.stage import Stage

# While one stream's batch is worked on, the next one's travels.
STREAMS_PER_ENDPOINT = 2

# All servers may say within a moment that they don't serve, and then work goes on where it is.
LEAVING_DELAY_S = 0.15

# Between two looks at why there is no connection: while streams may have to be drained for it, and otherwise.
FAILURE_INTERVALS_S = (0.05, 0.2)

# Many servers send headers with their first response only; ours send them at once, unless they are overloaded.
PROBE_DELAY_S = 0.5

# What a server without a name is sent first. No batch of the pipeline has this id.
PROBE_ID = 0
_PROBE = Batch(PROBE_ID, count=1, message_size=1, begun=0.0, data=b"\0")


class StreamBroken(Exception):  # noqa: N818 - named for what happened, as gRPC's own status is no error class either
    """A stream ended other than OK with nothing outstanding. Its batches may be retried on another."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


@dataclass(slots=True, eq=False)
class Attempt:
    """A batch sent on a stream, and when, on the event loop's clock."""

    batch: Batch
    sent_at: float


class Stream:
    """One gRPC stream: batches go out, and responses are matched by batch id."""

    def __init__(
        self, endpoint: "Endpoint", stage: Stage, method: InstrumentedMethod, client_id: str, number: int
    ) -> None:
        """Open a stream. The server logs its number and the client id."""
        self.endpoint = endpoint
        self.number = number
        # The name of the process that serves it, once that is known; its address, where the server sends no name.
        self.replica = ""
        # By batch id, the oldest first.
        self.outstanding: dict[int, Attempt] = {}
        self.half_closed = False
        # When the newest batch with a response had been sent, and whether any but a probe had one.
        self.newest = 0.0
        self.worked = False
        self._stage = stage
        self._unsent: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._given_up = ""
        metadata = ((CLIENT_ID, client_id), (STREAM_ID, str(number)))
        self._call = method.open(endpoint.channel, self._requests(), metadata)

    @property
    def oldest(self) -> float:
        """When the oldest outstanding batch was sent; infinity if there is none."""
        return next((attempt.sent_at for attempt in self.outstanding.values()), float("inf"))

    def send(self, batch: Batch, now: float) -> None:
        """Send the request for a batch as soon as the stream takes it."""
        self.outstanding[batch.id] = Attempt(batch, now)
        self._unsent.put_nowait(batch)

    def probe(self) -> None:
        """Send a batch of one byte that is not counted, to see whether the server responds on this stream."""
        if PROBE_ID not in self.outstanding:
            self.send(_PROBE, asyncio.get_running_loop().time())

    def half_close(self) -> None:
        """Send nothing more; the stream ends when nothing is outstanding. One that has not joined is cancelled."""
        if not self.half_closed:
            self.half_closed = True
            self._unsent.put_nowait(None)
        if not self.replica:
            self._call.cancel()

    def give_up(self, reason: str) -> None:
        """End the stream as broken."""
        self._given_up = reason
        self._call.cancel()

    async def run(
        self, on_join: Callable[["Stream"], None], on_response: Callable[["Stream", Batch, memoryview], None]
    ) -> None:
        """Serve the stream until it is half-closed and nothing is outstanding. Raises StreamBroken at any other end.

        Calls `on_join` when the replica is known, and `on_response` with a batch and the payload of its response.
        """
        try:
            await self._read(on_join, on_response)
            if self.outstanding or not self.half_closed:
                details = f"ended by the server with {len(self.outstanding)} batches outstanding"
                raise StreamBroken(grpc.StatusCode.OK, details)
        except grpc.aio.AioRpcError as error:
            raise StreamBroken(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            # grpc.aio reports a call that was cancelled from here in the same way as a task that is.
            if self._given_up:
                raise StreamBroken(grpc.StatusCode.DEADLINE_EXCEEDED, self._given_up) from None
            if self.replica or not self.half_closed:
                raise
        finally:
            self._call.cancel()
            self.outstanding.pop(PROBE_ID, None)

    async def _read(
        self, on_join: Callable[["Stream"], None], on_response: Callable[["Stream", Batch, memoryview], None]
    ) -> None:
        if name := await self._served_by():
            self._join(name, on_join)
        else:
            # A call that fails has no headers either; only a response says that the server takes batches.
            self.probe()
        async for response in self._call:
            attempt, payload = self._match(response)
            self.newest = attempt.sent_at
            if not self.replica:
                self._join(await self._served_by() or self.endpoint.address[:MAX_NAME], on_join)
            elif attempt.batch is not _PROBE:
                self.worked = True
                on_response(self, attempt.batch, payload)

    async def _requests(self) -> AsyncIterator[bytes]:
        while (batch := await self._unsent.get()) is not None:
            yield self._stage.request(batch)

    async def _served_by(self) -> str:
        """Return the server's name; nothing if it sends none, or no headers within PROBE_DELAY_S."""
        name = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_DELAY_S):
                name = str((await self._call.initial_metadata()).get(SERVED_BY, ""))
        if len(name) > MAX_NAME:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a name of {len(name)} characters in {SERVED_BY}")
        return name

    def _join(self, replica: str, on_join: Callable[["Stream"], None]) -> None:
        self.replica = self.endpoint.name = replica
        if not self.half_closed:
            on_join(self)

    def _match(self, response: bytes) -> tuple[Attempt, memoryview]:
        try:
            batch_id, payload = self._stage.response(response)
        except DecodeError:
            raise StreamBroken(grpc.StatusCode.INTERNAL, "a response that can't be decoded") from None
        attempt = self.outstanding.get(batch_id)
        if attempt is None:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a response to no batch: {batch_id}")
        if len(payload) != (size := self._stage.payload_size(attempt.batch)):
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"{len(payload)} bytes for batch {batch_id}, not {size}")
        del self.outstanding[batch_id]
        return attempt, payload


class Endpoint:
    """One connection to an address: connects, keeps streams open while its server serves, then leaves and drains."""

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        certificates: Certificates | None,
        *,
        keep_stream: Callable[["Endpoint"], Coroutine[Any, Any, None]],
        on_change: Callable[[], None],
    ) -> None:
        """Keep streams with `keep_stream`, and call `on_change` when streams that are open may have to be drained."""
        self.address = address
        self.channel = channel
        self.certificates = certificates
        # What the replica at this address was called last.
        self.name = address[:MAX_NAME]
        self.streams: set[Stream] = set()
        # Why it does not serve, or nothing where that is not known.
        self.cause = ""
        # Set when it opens no more streams; those that are open are drained as soon as others serve.
        self.left = asyncio.Event()
        self.may_drain = False
        # Whether its server goes away, rather than only says that it does not serve.
        self.stopping = False
        self._keep_stream = keep_stream
        self._keeping: list[asyncio.Task[None]] = []
        self._on_change = on_change

    @property
    def serving(self) -> bool:
        """Whether it has a stream that takes batches and is to go on."""
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
        while not self.stopping:
            state = self.channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY and not self._keeping:
                self.cause = "it accepts streams, and answers nothing on them"
                self._keeping = [tasks.create_task(self._keep_stream(self)) for _ in range(STREAMS_PER_ENDPOINT)]
            elif self._keeping and not self.left.is_set():
                self.left.set()
                self._on_change()
                await asyncio.sleep(LEAVING_DELAY_S)
                self.leave()
                self._on_change()
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                # gRPC keeps this state, whatever the next failure is.
                self.cause = await failure(self.channel, secure=self.certificates is not None)
                if is_untrusted(self.cause):
                    self.leave()  # the channel would retry too often
                self.stopping = self.left.is_set() and not is_unhealthy(self.cause)
                await asyncio.sleep(FAILURE_INTERVALS_S[not self.streams])
            else:
                await self.channel.wait_for_state_change(state)
        self._on_change()
