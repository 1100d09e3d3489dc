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
        # A task group takes several times as long for each task.
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def replicas(self) -> list[str]:
        """The target, if it is connected: a call does not show which replica serves it."""
        return [self._target] if self._channel.get_state() is grpc.ChannelConnectivity.READY else []

    def send(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        """Send a batch while run() runs, and pass on its response's payload, however many attempts that takes."""
        task = self._loop.create_task(self._call(batch, on_response))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        backoff = None
        request = self._stage.request([batch])
        while True:
            try:
                response = await self._method(request, metadata=self._metadata, wait_for_ready=True)
                [(_, payload)] = self._stage.response(response)
            except grpc.aio.AioRpcError as error:
                code = error.code()
            except (DecodeError, ValueError):
                code = grpc.StatusCode.INTERNAL
            else:
                if len(payload) == self._stage.payload_size(batch):
                    on_response(payload)
                    return
                code = grpc.StatusCode.INTERNAL
            backoff = backoff or Backoff()
            self.errors[code.name] += 1
            self.resent += 1
            await asyncio.sleep(MAX_BACKOFF_S if code in PERMANENT else backoff.next_delay())

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        try:
            self._channel.get_state(try_to_connect=True)
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._channel.close(CLOSE_LIMIT_S)
