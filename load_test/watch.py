import asyncio
from collections.abc import Mapping
from typing import Protocol

from load_test.errors import LoadTestError
from load_test.local_service import LocalService
from worker_svc.pipeline import Pipeline

INTERVAL = 0.1
"""Seconds between two looks."""

ABSENCE_LIMIT = 3.0
"""Seconds without an answer after which a service that has no server is lost: one that was restarted is back sooner."""

SILENCE_LIMIT = 10.0
"""Seconds without an answer after which a service is lost though its servers are connected."""


class Answering(Protocol):
    """Whoever knows which servers there are."""

    @property
    def replicas(self) -> list[str]:
        """Their names."""


class Watch:
    """Sees that batches are answered at all."""

    def __init__(
        self,
        targets: Mapping[str, str],
        clients: Mapping[str, Answering],
        services: Mapping[str, LocalService],
        pipeline: Pipeline,
    ) -> None:
        self._targets = targets
        self._clients = clients
        self._services = services
        self._pipeline = pipeline
        self._last_answer = 0.0

    def answered(self, now: float) -> None:
        """A batch has gone all its way."""
        self._last_answer = now

    async def run(self) -> None:
        """Watch until cancelled. Raises LoadTestError when a service is lost."""
        while True:
            await asyncio.sleep(INTERVAL)
            for service in self._services.values():
                service.check()
            self._look(asyncio.get_running_loop().time())

    def _look(self, now: float) -> None:
        oldest = self._pipeline.oldest
        if oldest is None:
            return
        silent = now - max(oldest, self._last_answer)
        for name, client in self._clients.items():
            if silent > ABSENCE_LIMIT and not client.replicas:
                raise LoadTestError(f"{name} at {self._targets[name]} is lost: no server for {silent:.0f} s")
        if silent > SILENCE_LIMIT:
            raise LoadTestError(f"nothing was answered for {silent:.0f} s by {' and '.join(self._targets.values())}")
