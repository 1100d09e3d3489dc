import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from worker_svc.batch import Batch
from worker_svc.pipeline import StageClient
from worker_svc.pool.endpoint import Attempt, Stream


class FakeStageClient:
    """A stage of a pipeline, which keeps its batches until the test completes them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._on_response: list[Callable[[memoryview], None]] = []

    def send(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        self.batches.append(batch)
        self._on_response.append(on_response)

    def complete(self, payload: bytes = b"") -> Batch:
        """Respond to the oldest batch."""
        self._on_response.pop(0)(memoryview(payload))
        return self.batches.pop(0)


def response(client: StageClient, batch: Batch) -> "asyncio.Future[memoryview]":
    """Send a batch, and return the payload of its response."""
    payload: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
    client.send(batch, lambda received: None if payload.done() else payload.set_result(received))
    return payload


class FakeStream:
    """What a pool and its picker see of a stream."""

    number = 1
    half_closed = False
    newest_sent_at = 0.0
    unsent = 0

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self.endpoint = SimpleNamespace(address=f"{replica}:50051")
        self.outstanding: dict[int, Attempt] = {}

    @property
    def oldest_sent_at(self) -> float:
        return next((attempt.sent_at for attempt in self.outstanding.values()), float("inf"))

    def send(self, batch: Batch, now: float, *, alone: bool = False) -> None:
        self.outstanding[batch.id] = Attempt(batch, now, alone)

    def half_close(self) -> None:
        self.half_closed = True


def stream_to(replica: str) -> Stream:
    return cast("Stream", FakeStream(replica))
