"""One address of a service: its channel, and two long-lived streams on it while its server serves.

gRPC balances only when a stream opens, so a channel leads to one address, and the picker balances batches.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from chassis.grpc_client import failure, is_unhealthy, is_untrusted, open_channel
from chassis.grpc_options import MAX_NAME, SERVED_BY
from worker_svc.backoff import LAST, PERMANENT, Backoff, sleep_unless
from worker_svc.batch import Batch

if TYPE_CHECKING:
    from worker_svc.pool.pool import Pool

# While one stream's batch is worked on, the next one's travels.
STREAMS_PER_ENDPOINT = 2

# All servers may say within a moment that they don't serve, and then work goes on where it is.
LEAVING_DELAY_S = 0.15

# Between two looks at why there is no connection: while streams may have to be drained for it, and otherwise.
FAILURE_INTERVALS_S = (0.05, 0.2)

# Many servers send headers with their first response only; ours send them at once, unless they are overloaded.
PROBE_DELAY_S = 0.5

# What a server without a name is sent first. No batch of the pipeline has this id, and the worker counts none that has.
PROBE_ID = 0
_PROBE = Batch(PROBE_ID, count=1, message_size=1, begun=0.0, data=b"\0")

Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


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

    def __init__(self, call: Call, endpoint: "Endpoint", pool: "Pool", number: int) -> None:
        self.endpoint = endpoint
        # The name of the process that serves it, once that is known; its address, where the server sends no name.
        self.replica: str | None = None
        self.number = number
        # By batch id, the oldest first.
        self.outstanding: dict[int, Attempt] = {}
        # From when on others should get its batches, as soon as there are others.
        self.leaves_at = float("inf")
        self.half_closed = False
        # When the newest batch with a response had been sent.
        self.newest = 0.0
        self.completed = 0
        self._opened_at = asyncio.get_running_loop().time()
        self._call = call
        self._pool = pool
        self._unsent: deque[Batch] = deque()
        self._wakeup = asyncio.Event()
        self._probe: Attempt | None = None
        self._given_up = ""

    @property
    def leaving(self) -> bool:
        """Whether it takes batches only as long as no other stream does."""
        return self.leaves_at < float("inf")

    @property
    def oldest(self) -> float:
        """When the oldest outstanding batch was sent; infinity if there is none."""
        if self.replica is None:
            return self._opened_at
        return next((attempt.sent_at for attempt in self.outstanding.values()), float("inf"))

    def send(self, batch: Batch, now: float) -> None:
        """Send the request for a batch as soon as the stream takes it."""
        self.outstanding[batch.id] = Attempt(batch, now)
        self._unsent.append(batch)
        self._wakeup.set()

    def probe(self) -> None:
        """Send a batch of one byte that is not counted, to see whether the server responds on this stream."""
        if self._probe is None:
            self._probe = Attempt(_PROBE, asyncio.get_running_loop().time())
            self._unsent.append(_PROBE)
            self._wakeup.set()

    def half_close(self) -> None:
        """Send nothing more; the stream ends when nothing is outstanding. One that has not joined is cancelled."""
        self.half_closed = True
        self._wakeup.set()
        if self.replica is None:
            self._call.cancel()

    def give_up(self, reason: str) -> None:
        """End the stream as broken."""
        self._given_up = reason
        self._call.cancel()

    async def run(self) -> None:
        """Serve the stream until it is half-closed and nothing is outstanding. Raises StreamBroken at any other end."""
        writing = asyncio.create_task(self._write())
        try:
            await self._read()
        except grpc.aio.AioRpcError as error:
            raise StreamBroken(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            # grpc.aio reports a call that was cancelled from here in the same way as a task that is.
            if self._given_up:
                raise StreamBroken(grpc.StatusCode.DEADLINE_EXCEEDED, self._given_up) from None
            if not self.half_closed or self.outstanding:
                raise
        finally:
            writing.cancel()
            self._call.cancel()

    async def _read(self) -> None:
        probing = asyncio.get_running_loop().call_later(PROBE_DELAY_S, self.probe)
        try:
            name = (await self._call.initial_metadata()).get(SERVED_BY)
        finally:
            probing.cancel()
        if name is None:
            # A call that fails has no headers either; only a response says that the server takes batches.
            self.probe()
        elif len(name) > MAX_NAME:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a name of {len(name)} characters in {SERVED_BY}")
        else:
            self._join(str(name))
        async for response in self._call:
            attempt, payload = self._match(response)
            if self.replica is None:
                self._join(self.endpoint.address[:MAX_NAME])
            if attempt.batch is not _PROBE:
                self.completed += 1
                self._pool.completed(self, attempt, payload)
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            raise StreamBroken(code, await self._call.details() or "")
        if self.outstanding or not self.half_closed:
            raise StreamBroken(code, f"ended by the server with {len(self.outstanding)} batches outstanding")

    def _join(self, replica: str) -> None:
        self.replica = self.endpoint.name = replica
        if not self.half_closed:
            self._pool.joined(self)

    def _match(self, response: bytes) -> tuple[Attempt, memoryview]:
        try:
            batch_id, payload = self._pool.stage.response(response)
        except DecodeError:
            raise StreamBroken(grpc.StatusCode.INTERNAL, "a response that can't be decoded") from None
        attempt = self._probe if batch_id == PROBE_ID else self.outstanding.get(batch_id)
        if attempt is None:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a response to no batch: {batch_id}")
        if len(payload) != (size := self._pool.stage.payload_size(attempt.batch)):
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"{len(payload)} bytes for batch {batch_id}, not {size}")
        if attempt is self._probe:
            self._probe = None
        else:
            del self.outstanding[batch_id]
        self.newest = attempt.sent_at
        return attempt, payload

    async def _write(self) -> None:
        try:
            while True:
                while self._unsent:
                    await self._call.write(self._pool.stage.request(self._unsent.popleft()))
                if self.half_closed:
                    await self._call.done_writing()
                    return
                self._wakeup.clear()
                await self._wakeup.wait()
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            pass  # the call has ended, which the reader sees


class Endpoint:
    """Opens its streams when the channel is ready, which includes the server's health; they leave when it is not."""

    def __init__(self, address: str, pool: "Pool") -> None:
        """Be the endpoint at this gRPC target of one address. The certificates that it uses are today's."""
        self.address = address.partition(":")[2]
        # What the replica at this address was called last.
        self.name = self.address[:MAX_NAME]
        self.streams: set[Stream] = set()
        self.certificates = pool.certificates.latest if pool.certificates else None
        # Whether its server goes away, rather than only says that it does not serve.
        self.stopping = False
        self._target = address
        self._pool = pool
        self._channel = self._open_channel()
        # Set when the channel is not ready any more; another one each time that it is.
        self._gone = asyncio.Event()
        self._gone.set()
        self._ready_at = 0.0
        self._failure = self._broken = ""
        self._retired = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    def _open_channel(self) -> grpc.aio.Channel:
        pool = self._pool
        return open_channel(self._target, pool.stage.service, pool.certificates, authority=pool.authority)

    @property
    def serving(self) -> bool:
        """Whether it has a stream that takes batches and is to go on."""
        return any(stream.replica is not None and not stream.leaving for stream in self.streams)

    @property
    def cause(self) -> str:
        """Why it does not serve, or nothing where that is not known."""
        if self._gone.is_set():
            return self._failure
        silent_s = asyncio.get_running_loop().time() - self._ready_at
        return self._broken or f"it accepts streams, and answers nothing on them for {silent_s:.1f} s"

    async def run(self) -> None:
        """Keep streams until retired and drained, and close the channel. Raises what the pool's callbacks raised."""
        try:
            async with self._tasks:
                watching = self._tasks.create_task(self._watch())
                await self._retired.wait()
                watching.cancel()
        finally:
            await self._channel.close()

    def retire(self) -> None:
        """Open no more streams; run() ends when those that are open have ended."""
        self._retired.set()
        self._leave(0.0)

    async def _watch(self) -> None:
        """Follow the channel. It is ready while there is a connection and the server's health is SERVING."""
        while True:
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                self._enter()
            elif not self._gone.is_set():
                self._leave(LEAVING_DELAY_S)
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                # gRPC keeps this state, whatever the next failure is.
                await asyncio.sleep(await self._find_cause())
            else:
                await self._channel.wait_for_state_change(state)

    async def _find_cause(self) -> float:
        """See why the channel is not ready, and return the seconds until that is worth another look."""
        self._failure = await failure(self._channel, secure=self.certificates is not None)
        if is_untrusted(self._failure):
            # The channel would retry too often, so it gives way to a new one.
            self._pool.untrusted(self._failure)
            channel, self._channel = self._channel, self._open_channel()
            await channel.close()
            return LAST
        self.stopping = not is_unhealthy(self._failure)
        self._pool.changed()
        return FAILURE_INTERVALS_S[not any(not stream.half_closed for stream in self.streams)]

    def _enter(self) -> None:
        self._leave(0.0)  # streams of a connection that was lost between two looks
        self.stopping = False
        self._gone = asyncio.Event()
        self._ready_at = asyncio.get_running_loop().time()
        for _ in range(STREAMS_PER_ENDPOINT):
            self._tasks.create_task(self._keep(self._gone))

    def _leave(self, delay: float) -> None:
        self._gone.set()
        loop = asyncio.get_running_loop()
        for stream in self.streams:
            stream.leaves_at = min(stream.leaves_at, loop.time() + delay)
            if stream.replica is None:
                stream.half_close()
        self._pool.changed()
        loop.call_later(delay, self._pool.changed)

    async def _keep(self, gone: asyncio.Event) -> None:
        """Have one stream open, again after each break, until the connection is gone."""
        backoff = Backoff()
        while not gone.is_set():
            number, call = self._pool.open_call(self._channel)
            stream = Stream(call, self, self._pool, number)
            self.streams.add(stream)
            broken: StreamBroken | None = None
            try:
                await stream.run()
            except StreamBroken as error:
                broken = error
                self._broken = str(error)
            finally:
                self.streams.discard(stream)
                self._pool.ended(stream, broken)
            if stream.completed:
                backoff.reset()
            is_permanent = broken is not None and broken.code in PERMANENT
            await sleep_unless(gone, backoff.slowest() if is_permanent else backoff.pause())
