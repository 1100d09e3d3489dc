"""One address of a service: its channel, and two long-lived streams on it while its server serves.

gRPC balances only when a stream opens, so a channel leads to one address, and the picker balances batches.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from chassis.grpc_client.channel import failure, is_unhealthy, is_untrusted, open_channel
from chassis.metadata import MAX_NAME, SERVED_BY
from chassis.tls.renewed_certificates import RenewedCertificates
from worker_svc.backoff import LAST, PERMANENT, Backoff, sleep_unless
from worker_svc.batch import Batch
from worker_svc.stage import Stage

if TYPE_CHECKING:
    from worker_svc.pool.pool import Pool

# While one stream's batch is worked on, the next one's travels.
STREAMS_PER_ENDPOINT = 2

# All servers may say within a moment that they don't serve, and then work goes on where it is.
LEAVING_DELAY_S = 0.15

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

    def __init__(self, call: Call, stage: Stage, endpoint: "Endpoint", number: int) -> None:
        """On this call, which logs name by its number. A server that sends no name is called by its address."""
        self.endpoint = endpoint
        self.number = number
        self.replica: str | None = None
        """The name of the process that serves it, once that is known."""
        self.outstanding: dict[int, Attempt] = {}
        """By batch id, the oldest first."""
        self.leaves_at = float("inf")
        """From when on others should get its batches, as soon as there are others."""
        self.half_closed = False
        self.newest = 0.0
        """When the newest batch with a response had been sent."""
        self.completed = 0
        self._opened_at = asyncio.get_running_loop().time()
        self._call = call
        self._stage = stage
        self._unsent: deque[Batch] = deque()
        self._wakeup: asyncio.Future[None] | None = None
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
        self._send(batch)

    def _send(self, batch: Batch) -> None:
        self._unsent.append(batch)
        self._wake()

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def half_close(self) -> None:
        """Send nothing more; the stream ends when nothing is outstanding. One that has not joined is cancelled."""
        self.half_closed = True
        self._wake()
        if self.replica is None:
            self._call.cancel()

    def give_up(self, reason: str) -> None:
        """End the stream as broken."""
        self._given_up = reason
        self._call.cancel()

    async def run(self, pool: "Pool") -> None:
        """Serve the stream until it is half-closed and nothing is outstanding. Raises StreamBroken at any other end."""
        writing = asyncio.create_task(self._write())
        try:
            await self._read(pool)
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

    async def _read(self, pool: "Pool") -> None:
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
            self._join(str(name), pool)
        async for response in self._call:
            attempt, payload = self._match(response)
            if self.replica is None:
                self._join(self.endpoint.address[:MAX_NAME], pool)
            if attempt.batch is not _PROBE:
                self.completed += 1
                pool.completed(self, attempt, payload)
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            raise StreamBroken(code, await self._call.details() or "")
        if self.outstanding or not self.half_closed:
            raise StreamBroken(code, f"ended by the server with {len(self.outstanding)} batches outstanding")

    def _join(self, replica: str, pool: "Pool") -> None:
        self.replica = self.endpoint.name = replica
        if not self.half_closed:
            pool.joined(self)

    def probe(self) -> None:
        """Send a batch of one byte that is not counted, to see whether the server responds on this stream."""
        if self._probe is None:
            self._probe = Attempt(_PROBE, asyncio.get_running_loop().time())
            self._send(_PROBE)

    def _match(self, response: bytes) -> tuple[Attempt, memoryview]:
        try:
            batch_id, payload = self._stage.response(response)
        except DecodeError:
            raise StreamBroken(grpc.StatusCode.INTERNAL, "a response that can't be decoded") from None
        attempt = self._probe if batch_id == PROBE_ID else self.outstanding.get(batch_id)
        if attempt is None:
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"a response to no batch: {batch_id}")
        if len(payload) != (size := self._stage.payload_size(attempt.batch)):
            raise StreamBroken(grpc.StatusCode.INTERNAL, f"{len(payload)} bytes for batch {batch_id}, not {size}")
        if attempt is self._probe:
            self._probe = None
        else:
            del self.outstanding[batch_id]
        self.newest = attempt.sent_at
        return attempt, payload

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                while self._unsent:
                    await self._call.write(self._stage.request(self._unsent.popleft()))
                if self.half_closed:
                    await self._call.done_writing()
                    return
                self._wakeup = loop.create_future()
                await self._wakeup
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            pass  # the call has ended, which the reader sees


class Endpoint:
    """Opens its streams when the channel is ready, which includes the server's health; they leave when it is not."""

    def __init__(  # noqa: PLR0913 - what a pool knows when it opens one
        self,
        address: str,
        stage: Stage,
        pool: "Pool",
        open_call: Callable[[grpc.aio.Channel], tuple[int, Call]],
        *,
        authority: str | None = None,
        certificates: RenewedCertificates | None = None,
    ) -> None:
        """Begin to connect to this gRPC target of one address, whose server is called by the authority in requests."""
        self.address = address.partition(":")[2]
        self.name = self.address[:MAX_NAME]
        """What the replica at this address was called last."""
        self.streams: set[Stream] = set()
        self.certificates = certificates.latest if certificates else None
        """The ones that its channel was opened with."""
        self._stage = stage
        self._pool = pool
        self._open_call = open_call
        self._open_channel = partial(open_channel, address, stage.service, certificates, authority=authority)
        self._channel = self._open_channel()
        self._secure = certificates is not None
        self._gone = asyncio.Event()
        """Set when the channel is not ready any more; another one each time that it is."""
        self._gone.set()
        self._ready_at = 0.0
        self._broken = ""
        self._keepers: set[asyncio.Task[None]] = set()
        self._watching = asyncio.create_task(self._watch())

    @property
    def serving(self) -> bool:
        """Whether it has a stream that takes batches and is to go on."""
        return any(stream.replica is not None and not stream.leaving for stream in self.streams)

    async def run(self) -> None:
        """Keep streams until retired and drained, and close the channel."""
        try:
            await asyncio.wait((self._watching,))
            if not self._watching.cancelled():
                self._watching.result()
            while self._keepers:
                await asyncio.wait(self._keepers)
        finally:
            tasks = (self._watching, *self._keepers)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._channel.close()

    def retire(self) -> None:
        """Open no more streams; run() ends when those that are open have ended."""
        self._watching.cancel()
        self._leave(0.0)

    async def _watch(self) -> None:
        """Follow the channel. It is ready while there is a connection and the server's health is SERVING."""
        while True:
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                self._enter()
            else:
                if not self._gone.is_set():
                    self._leave(LEAVING_DELAY_S)
                if self._secure and state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    await self._check_trust()
            await self._channel.wait_for_state_change(state)

    def _enter(self) -> None:
        self._gone = asyncio.Event()
        self._ready_at = asyncio.get_running_loop().time()
        for _ in range(STREAMS_PER_ENDPOINT):
            keeper = asyncio.create_task(self._keep(self._gone))
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keeper_ended)

    def _leave(self, delay: float) -> None:
        self._gone.set()
        loop = asyncio.get_running_loop()
        for stream in self.streams:
            stream.leaves_at = min(stream.leaves_at, loop.time() + delay)
            if stream.replica is None:
                stream.half_close()
        self._pool.changed()
        loop.call_later(delay, self._pool.changed)

    def _keeper_ended(self, keeper: "asyncio.Task[None]") -> None:
        self._keepers.discard(keeper)
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._pool.failed(error)

    async def _keep(self, gone: asyncio.Event) -> None:
        """Have one stream open, again after each break, until the connection is gone."""
        backoff = Backoff()
        while not gone.is_set():
            number, call = self._open_call(self._channel)
            stream = Stream(call, self._stage, self, number)
            self.streams.add(stream)
            broken: StreamBroken | None = None
            try:
                await stream.run(self._pool)
            except StreamBroken as error:
                broken = error
                self._broken = str(error)
            finally:
                self.streams.discard(stream)
                self._pool.ended(stream, broken)
            if stream.completed:
                backoff.reset()
            pause = backoff.slowest() if broken and broken.code in PERMANENT else backoff.pause()
            await sleep_unless(gone, pause)

    async def _check_trust(self) -> None:
        """Where a certificate is not accepted, give up the channel, which would retry too often, for a new one."""
        if is_untrusted(details := await failure(self._channel, secure=True)):
            self._pool.untrusted(details)
            channel, self._channel = self._channel, self._open_channel()
            await channel.close()
            await asyncio.sleep(LAST)

    async def is_stopping(self) -> bool:
        """Whether its server is going away, rather than only says that it does not serve."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return False
        return not is_unhealthy(await failure(self._channel, secure=self._secure))

    async def cause(self) -> str:
        """Return why it does not serve, or nothing where that is not known."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            silent = asyncio.get_running_loop().time() - self._ready_at
            return self._broken or f"it accepts streams, and answers nothing on them for {silent:.1f} s"
        return await failure(self._channel, secure=self._secure)
