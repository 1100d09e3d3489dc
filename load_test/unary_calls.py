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
        self._method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(stage.path)
        self._metadata = ((CLIENT_ID, client_id),)
        self._loop = asyncio.get_running_loop()
        # By batch id. A done callback to remove a task would take a turn of the event loop, and a task group much more.
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def replicas(self) -> list[str]:
        """The target, if it is connected: a call does not show which replica serves it."""
        return [self._target] if self._channel.get_state() is grpc.ChannelConnectivity.READY else []

    def send(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        """Send a batch while run() runs, and pass on its response's payload, however many attempts that takes."""
        # The first call begins here: in the task, it would begin a turn of the event loop later.
        call = self._begin(self._stage.request([batch]))
        self._tasks[batch.id] = self._loop.create_task(self._receive(call, batch, on_response))

    def _begin(self, request: bytes) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]":
        return self._method(request, metadata=self._metadata, wait_for_ready=True)

    async def _receive(
        self,
        call: "grpc.aio.UnaryUnaryCall[bytes, bytes]",
        batch: Batch,
        on_response: Callable[[memoryview], None],
    ) -> None:
        backoff = None
        while True:
            try:
                [(_, payload)] = self._stage.response(await call)
            except grpc.aio.AioRpcError as error:
                code = error.code()
            except (DecodeError, ValueError):
                code = grpc.StatusCode.INTERNAL
            else:
                if len(payload) == self._stage.payload_size(batch):
                    del self._tasks[batch.id]
                    on_response(payload)
                    return
                code = grpc.StatusCode.INTERNAL
            backoff = backoff or Backoff()
            self.errors[code.name] += 1
            self.resent += 1
            await asyncio.sleep(MAX_BACKOFF_S if code in PERMANENT else backoff.next_delay())
            call = self._begin(self._stage.request([batch]))

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        try:
            self._channel.get_state(try_to_connect=True)
            await asyncio.Event().wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self._channel.close(CLOSE_LIMIT_S)
