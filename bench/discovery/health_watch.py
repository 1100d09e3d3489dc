import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.discovery.fleet import ADDRESSES, Fleet
from chassis import grpc_options
from worker_svc.step import RANDOM


class HealthWatch:
    """Asks all servers of a fleet how they are, as channels do."""

    def __init__(self, fleet: Fleet) -> None:
        self._port = fleet.port
        self._serving: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._nobody_since: float | None = None
        self._nobody = 0.0

    @property
    def nobody(self) -> float:
        """Seconds in which none was SERVING, so far."""
        return self._nobody + (0.0 if self._nobody_since is None else self._loop.time() - self._nobody_since)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for address in ADDRESSES:
                tasks.create_task(self._watch(address))

    async def _watch(self, address: str) -> None:
        async with grpc.aio.insecure_channel(f"{address}:{self._port}", options=grpc_options.DIRECT) as channel:
            request = health_pb2.HealthCheckRequest(service=RANDOM.service)
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no Watch
            async for response in stub.Watch(request):
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    self._serving.add(address)
                else:
                    self._serving.discard(address)
                self._note()

    def _note(self) -> None:
        nobody = self.nobody
        self._nobody, self._nobody_since = nobody, None if self._serving else self._loop.time()
