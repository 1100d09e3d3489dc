import asyncio
from collections.abc import Callable

from worker_svc.batch import Batch
from worker_svc.pipeline import StageClient


class TimedClient:
    """Passes batches to another client, and measures how long each took, the wait for a stream with room included."""

    def __init__(self, client: StageClient, on_time: Callable[[float], None]) -> None:
        """Call `on_time` with the seconds of each batch."""
        self.on_completed: Callable[[Batch], None]
        self._client = client
        client.on_completed = self._completed
        self._on_time = on_time
        self._clock = asyncio.get_running_loop().time
        self._submitted: dict[int, float] = {}

    def submit(self, batch: Batch) -> None:
        """Get a response for a batch."""
        self._submitted[batch.id] = self._clock()
        self._client.submit(batch)

    def _completed(self, batch: Batch) -> None:
        self._on_time(self._clock() - self._submitted.pop(batch.id))
        self.on_completed(batch)
