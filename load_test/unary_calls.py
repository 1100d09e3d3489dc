"""A stage of a batch in a unary call of its own, for comparison with streams.

On the wire a unary call and a stream with one message each way are the same, so the services need no further methods.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError

from chassis.grpc_client import open_channel
from chassis.grpc_options import CLIENT_ID
from chassis.tls import RenewedCertificates
from worker_svc.batch import Batch
from worker_svc.retry import MAX_BACKOFF_S, PERMANENT, Backoff
from worker_svc.stage import Stage

CLOSE_LIMIT_S = 0.3

# From the end of a call until it is known whether it failed. An iteration of the event loop for each call, to look at
# once, would cost 3 % of its CPU time.
CHECK_INTERVAL_S = 0.01

OnResponse = Callable[[memoryview], None]
Call: TypeAlias = "grpc.aio.UnaryUnaryCall[bytes, bool]"


class UnaryCalls:
    """Sends each batch of a stage in a call; the channel spreads the calls over the endpoints in turn."""

    def __init__(
        self, stage: Stage, target: str, *, client_id: str, certificates: RenewedCertificates | None = None
    ) -> None:
        # Calls that failed, by gRPC code.
        self.errors: Counter[str] = Counter()
        self.resent = 0
        self._stage = stage
        self._target = target
        self._channel = open_channel(target, stage.service, certificates)
        self._method: grpc.aio.UnaryUnaryMultiCallable[bytes, bool] = self._channel.unary_unary(
            stage.path, response_deserializer=self._pass_on
        )
        self._metadata = ((CLIENT_ID, client_id),)
        self._loop = asyncio.get_running_loop()
        # What waits for its response, by batch id; the calls that ended since the last look at them; and the tasks that
        # send what failed again.
        self._waiting: dict[int, tuple[Batch, OnResponse]] = {}
        self._ended: list[tuple[Batch, Call]] = []
        self._retrying: set[asyncio.Task[None]] = set()

    @property
    def replicas(self) -> list[str]:
        """The target, if it is connected: a call does not show which replica serves it."""
        return [self._target] if self._channel.get_state() is grpc.ChannelConnectivity.READY else []

    def send(self, batch: Batch, on_response: OnResponse) -> None:
        """Send a batch while run() runs, and pass on its response's payload, however many attempts that takes."""
        self._waiting[batch.id] = (batch, on_response)
        self._begin(batch).add_done_callback(partial(self._call_ended, batch))

    def _begin(self, batch: Batch) -> Call:
        return self._method(self._stage.request([batch]), metadata=self._metadata, wait_for_ready=True)

    def _pass_on(self, encoded: bytes) -> bool:
        """Pass on the payload of a response, and return whether it is valid.

        gRPC calls this to decode the response of a call that succeeded. A task for each call, which awaits it, would
        get the response an iteration of the event loop later.
        """
        try:
            [(batch_id, payload)] = self._stage.response(encoded)
            batch, on_response = self._waiting[batch_id]
        except (DecodeError, ValueError, KeyError):
            return False
        if len(payload) != self._stage.payload_size(batch):
            return False
        del self._waiting[batch_id]
        on_response(payload)
        return True

    def _call_ended(self, batch: Batch, call: Call) -> None:
        """Look later whether the call failed: gRPC decodes the response next."""
        self._ended.append((batch, call))
        if len(self._ended) == 1:
            self._loop.call_later(CHECK_INTERVAL_S, self._check)

    def _check(self) -> None:
        for batch, call in self._ended:
            if batch.id in self._waiting:
                task = self._loop.create_task(self._retry(batch, call))
                self._retrying.add(task)
                task.add_done_callback(self._retrying.discard)
        self._ended.clear()

    async def _retry(self, batch: Batch, call: Call) -> None:
        """Send a batch whose call failed again until it has a valid response."""
        backoff = Backoff()
        while True:
            code = grpc.StatusCode.INTERNAL
            try:
                if await call:
                    return
            except grpc.aio.AioRpcError as error:
                code = error.code()
            self.errors[code.name] += 1
            self.resent += 1
            await asyncio.sleep(MAX_BACKOFF_S if code in PERMANENT else backoff.next_delay())
            call = self._begin(batch)

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        try:
            self._channel.get_state(try_to_connect=True)
            await asyncio.Event().wait()
        finally:
            self._waiting.clear()
            for task in self._retrying:
                task.cancel()
            await self._channel.close(CLOSE_LIMIT_S)
