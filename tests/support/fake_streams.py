import asyncio
from types import SimpleNamespace
from typing import cast

from worker_svc.batch import Batch
from worker_svc.pool.endpoint import Attempt, Stream


class FakeStageClient:
    """A stage of a pipeline, which keeps its batches until the test completes them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._responses: list[asyncio.Future[memoryview]] = []

    def response(self, batch: Batch) -> "asyncio.Future[memoryview]":
        self.batches.append(batch)
        self._responses.append(asyncio.get_running_loop().create_future())
        return self._responses[-1]

    async def complete(self, payload: bytes = b"") -> Batch:
        """Respond to the oldest batch, and let the pipeline go on with it."""
        self._responses.pop(0).set_result(memoryview(payload))
        for _ in range(2):
            await asyncio.sleep(0)
        return self.batches.pop(0)


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
