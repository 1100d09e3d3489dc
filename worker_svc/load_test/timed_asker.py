import asyncio
from collections.abc import Callable

from worker_svc.batch import Batch
from worker_svc.pipeline import Asker


class TimedAsker:
    """Has another asker answer batches, and tells how long each took, the wait for a stream with room included."""

    def __init__(self, asker: Asker, on_time: Callable[[float], None]) -> None:
        """Times are in seconds."""
        self.on_answer: Callable[[Batch], None]
        self._asker = asker
        asker.on_answer = self._answered
        self._on_time = on_time
        self._clock = asyncio.get_running_loop().time
        self._asked: dict[int, float] = {}

    def submit(self, batch: Batch) -> None:
        """Have a batch answered."""
        self._asked[batch.id] = self._clock()
        self._asker.submit(batch)

    def _answered(self, batch: Batch) -> None:
        self._on_time(self._clock() - self._asked.pop(batch.id))
        self.on_answer(batch)
