"""A client that makes one call a batch, as most clients of most services do."""

import asyncio
from collections.abc import Callable

import grpc
from dockercoins.rng.v1 import rng_service_pb2, rng_service_pb2_grpc

from chassis import grpc_options
from worker_svc.batch import Batch
from worker_svc.step import RANDOM


class SingleCalls:
    """Calls on one channel with the worker's options, each balanced, and not waiting for a backend if there is none."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=grpc_options.client(RANDOM.service))
        self._stub = rng_service_pb2_grpc.RngServiceStub(self._channel)
        self.on_answer: Callable[[Batch], None]
        self.broken_streams = 0
        self.failed_messages: set[int] = set()
        self._calls: set[asyncio.Task[None]] = set()

    def submit(self, batch: Batch) -> None:
        """Have a batch answered, or failed."""
        call = asyncio.create_task(self._call(batch))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, batch: Batch) -> None:
        request = rng_service_pb2.GetRandomBytesRequest(size=batch.count * batch.message_size)
        try:
            response = await self._stub.GetRandomBytes(request)
        except grpc.aio.AioRpcError:
            self.failed_messages.add(batch.id)
        else:
            RANDOM.keep(batch, response.data)
            self.on_answer(batch)

    async def run(self) -> None:
        """Be connected until cancelled."""
        await self._channel.channel_ready()
        await asyncio.Event().wait()

    async def close(self, limit: float) -> None:
        """Cancel what is not answered after so many seconds."""
        await self._channel.close(limit)
