import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from worker_svc.batch import Batch
from worker_svc.pipeline import StageClient
from worker_svc.pool.endpoint import Attempt, Stream
from worker_svc.pool.picker import Picker


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
    joinable = 0

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


class Picking(Picker):
    """Its batches are sent and completed by the test."""

    def join(self, *replicas: str) -> list[Stream]:
        streams = [stream_to(name) for name in replicas]
        for stream in streams:
            self.add(stream, 0.0)
        return streams

    def send(self, batches: int = 1, avoid: str = "", now: float = 0.0) -> list[Stream]:
        picked = []
        for _ in range(batches):
            stream = self.pick(avoid)
            assert stream is not None
            self.sent(stream, now)
            stream.send(Batch(len(stream.outstanding), 1, 32, 0.0), now)
            picked.append(stream)
        return picked

    def complete(self, stream: Stream, now: float = 0.0) -> None:
        _, attempt = stream.outstanding.popitem()
        replica = self.replicas[stream.replica]
        replica.account(now, -1)
        replica.observe(now - attempt.sent_at, attempt.sent_at, 1)

    def changes(self, now: float, **connecting: str) -> bool:
        return self.replicas.update_states(now, connecting)

    @property
    def states(self) -> dict[str, str]:
        return {each.name: each.state.value for each in self.replicas.listed}
