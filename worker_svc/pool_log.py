from collections.abc import Sequence

from chassis import log
from chassis.log import ThrottledLogger
from worker_svc.batch import Batch
from worker_svc.batch_stream import BatchStream, StreamBroken
from worker_svc.generation import HOPELESS
from worker_svc.question import Question
from worker_svc.verification import WrongDigest

# All services start at the same time, or one is started again: no backend for so long needs no mention.
ABSENCE_LIMIT_S = 3.0

# As long as nobody knows why: an attempt to connect may be under way.
UNKNOWN_ABSENCE_LIMIT_S = 4.0

# From one line about what is still so to the next.
REPEAT_S = 5.0


class PoolLog:
    """What a pool says of its streams and backends: of each kind of event a line a second at most."""

    def __init__(self, name: str, target: str) -> None:
        """Of the pool of this step, whose servers are looked for there."""
        self._log = log.get(to=name)
        self._target = target
        self._backends = ThrottledLogger("backends", interval_s=1.0, level="info", to=name)
        self._breaks = ThrottledLogger("stream broken", interval_s=1.0, to=name)
        self._refusals = ThrottledLogger("stream refused, trying again seldom", level="error", to=name)
        self._late = ThrottledLogger("late, asked of a second backend", interval_s=1.0, to=name)
        self._slow_silent_until = 0.0
        self._absence_silent_until = 0.0
        self._wrong = ThrottledLogger("wrong digest, backend not used any more", interval_s=1.0, level="error", to=name)

    @property
    def _lines(self) -> tuple[ThrottledLogger, ...]:
        return self._backends, self._breaks, self._refusals, self._late, self._wrong

    def backends(self, names: Sequence[str]) -> None:
        """These take batches from now on, and they are others than before."""
        self._backends.log(count=len(names), names=" ".join(names))

    def broken(self, stream: BatchStream, broken: StreamBroken) -> None:
        """A stream is over that should not be."""
        line = self._refusals if broken.code in HOPELESS else self._breaks
        line.log(
            backend=stream.backend,
            stream=stream.number,
            code=broken.code.name,
            details=broken.details,
            unanswered=len(stream.owed),
        )

    def late(self, question: Question, second: str | None) -> None:
        """A question's answer is late, and a second backend is going to be asked."""
        self._late.log(batch=question.batch.id, backend=question.asked_of, stream=question.stream, second=second)

    def slow(self, questions: Sequence[Question], now: float) -> None:
        """These are late, the oldest first, and no second backend has been asked."""
        if questions and now >= self._slow_silent_until:
            self._slow_silent_until = now + REPEAT_S
            oldest = questions[0]
            self._log.warning(
                "no answer yet",
                batch=oldest.batch.id,
                backend=oldest.asked_of,
                stream=oldest.stream,
                seconds=round(now - oldest.asked_at, 1),
                batches=len(questions),
            )

    def wrong(self, stream: BatchStream, batch: Batch, wrong: WrongDigest) -> None:
        """A backend's answer is wrong, and it is not going to be asked any more."""
        self._wrong.log(backend=stream.backend, stream=stream.number, batch=batch.id, **wrong._asdict())

    def absence(self, since: float, now: float, details: str) -> None:
        """There has been no backend since then, for this reason; it is empty while none is known."""
        limit = ABSENCE_LIMIT_S if details else UNKNOWN_ABSENCE_LIMIT_S
        if now < max(since + limit, self._absence_silent_until):
            return
        self._absence_silent_until = now + REPEAT_S
        self._log.warning(
            "no backend, still trying",
            target=self._target,
            seconds=round(now - since, 1),
            details=details or "still connecting, or looking up the name",
        )

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        for line in self._lines:
            line.flush()

    def close(self) -> None:
        """Say what is not yet said."""
        for line in self._lines:
            line.close()
