from collections.abc import Sequence

from chassis.sparing_log import SparingLog
from worker_svc.batch_stream import BatchStream, StreamBroken
from worker_svc.generation import HOPELESS
from worker_svc.question import Question


class PoolLog:
    """What a pool says of its streams and backends: of each kind of event a line a second at most."""

    def __init__(self, name: str) -> None:
        """Of the pool of this step."""
        self._backends = SparingLog("backends", every=1.0, level="info", to=name)
        self._breaks = SparingLog("stream broken", every=1.0, to=name)
        self._refusals = SparingLog("stream refused, trying again seldom", level="error", to=name)
        self._late = SparingLog("late, asked of a second backend", every=1.0, to=name)

    @property
    def _lines(self) -> tuple[SparingLog, ...]:
        return self._backends, self._breaks, self._refusals, self._late

    def backends(self, names: Sequence[str]) -> None:
        """These take batches from now on, and they are others than before."""
        self._backends.note(count=len(names), names=" ".join(names))

    def broken(self, stream: BatchStream, broken: StreamBroken) -> None:
        """A stream is over that should not be."""
        line = self._refusals if broken.code in HOPELESS else self._breaks
        line.note(
            backend=stream.backend,
            stream=stream.number,
            code=broken.code.name,
            details=broken.details,
            unanswered=len(stream.owed),
        )

    def late(self, question: Question, second: str | None) -> None:
        """A question's answer is late, and a second backend is going to be asked."""
        self._late.note(batch=question.batch.id, backend=question.asked_of, stream=question.stream, second=second)

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        for line in self._lines:
            line.flush()

    def close(self) -> None:
        """Say what is not yet said."""
        for line in self._lines:
            line.close()
