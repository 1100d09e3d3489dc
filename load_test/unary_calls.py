"""A stage of a batch in a unary call of its own, for comparison with streams.

On the wire a unary call and a stream with one message each way are the same, so the services need no further methods.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from chassis.grpc_client import open_channel
from chassis.grpc_options import CLIENT_ID
from chassis.tls import RenewedCertificates
from worker_svc.batch import Batch
from worker_svc.retry import MAX_BACKOFF_S, PERMANENT, Backoff
from worker_svc.stage import Stage

CLOSE_LIMIT_S = 0.3

OnResponse = Callable[[memoryview], None]


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
        # By batch id: what waits for its response. A done callback that removes a task would take an iteration of the
        # event loop.
        self._waiting: dict[int, tuple[Batch, OnResponse]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def replicas(self) -> list[str]:
        """The target, if it is connected: a call does not show which replica serves it."""
        return [self._target] if self._channel.get_state() is grpc.ChannelConnectivity.READY else []

    def send(self, batch: Batch, on_response: OnResponse) -> None:
        """Send a batch while run() runs, and pass on its response's payload, however many attempts that takes."""
        self._waiting[batch.id] = (batch, on_response)
        # The first call begins here: in the task, it would begin an iteration of the event loop later.
        self._tasks[batch.id] = self._loop.create_task(self._complete(batch, self._begin(batch)))

    def _begin(self, batch: Batch) -> "grpc.aio.UnaryUnaryCall[bytes, bool]":
        return self._method(self._stage.request([batch]), metadata=self._metadata, wait_for_ready=True)

    def _pass_on(self, encoded: bytes) -> bool:
        """Pass on the payload of a response, and return whether it is valid.

        gRPC calls this to decode the response of a call that succeeded: an iteration of the event loop before the task
        that awaits the call goes on.
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

    async def _complete(self, batch: Batch, call: "grpc.aio.UnaryUnaryCall[bytes, bool]") -> None:
        """Send a batch again until it has a response."""
        backoff = None
        while True:
            code = grpc.StatusCode.INTERNAL
            try:
                if await call:
                    break
            except grpc.aio.AioRpcError as error:
                code = error.code()
            backoff = backoff or Backoff()
            self.errors[code.name] += 1
            self.resent += 1
            await asyncio.sleep(MAX_BACKOFF_S if code in PERMANENT else backoff.next_delay())
            call = self._begin(batch)
        del self._tasks[batch.id]

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        try:
            self._channel.get_state(try_to_connect=True)
            await asyncio.Event().wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self._channel.close(CLOSE_LIMIT_S)
