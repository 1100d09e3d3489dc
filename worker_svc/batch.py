"""A batch on its way through the pipeline, and its spans if it is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker_svc.retry import Reason

if TYPE_CHECKING:  # It imports OpenTelemetry, which only a process that records traces needs.
    from chassis.telemetry.tracing import Span, Tracing

UNFINISHED = "no response when the worker stopped"


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that go through the pipeline together."""

    # Unique within the process.
    id: int
    # Messages, and the bytes of each.
    count: int
    message_size: int
    # When work on it began, on the event loop's clock.
    begun: float
    # count x message_size random bytes, from rng.
    data: bytes | memoryview = b""
    # count x 32 bytes, from hasher.
    digests: bytes | memoryview = b""
    # Positions of the verified coins, which go to the wallet.
    verified_coins: Sequence[int] = ()
    # None unless the batch is sampled.
    trace: "BatchTrace | None" = None


@dataclass(slots=True)
class BatchTrace:
    """The spans of a sampled batch: its own, and one for each stage by the stage's name."""

    _tracing: "Tracing"
    _root: "Span"
    _stages: "dict[str, Span]" = field(default_factory=dict)

    @classmethod
    def begin(cls, tracing: "Tracing", batch: Batch) -> "BatchTrace | None":
        """Begin the span of a batch, or return None if the batch is not sampled."""
        if (trace_id := tracing.sample()) is None:
            return None
        attributes = {
            "dockercoins.batch.id": batch.id,
            "dockercoins.batch.size": batch.count,
            "dockercoins.message.size": batch.message_size,
        }
        return cls(tracing, tracing.root(trace_id, "batch", "INTERNAL", attributes))

    def submitted(self, stage: str, path: str) -> None:
        """Begin the span of a stage, in which the batch may wait for a stream with room."""
        _, service, method = path.split("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        self._stages[stage] = self._tracing.child(self._root, stage, attributes)

    def sent(self, stage: str, replica: str | None, reason: Reason | None = None) -> None:
        """Note that the batch was sent to a replica; a retry and a hedge have a reason."""
        event = "hedged" if reason is Reason.OVERDUE else "retried" if reason else "sent"
        attributes = {"dockercoins.replica": replica or ""}
        if reason:
            attributes["dockercoins.reason"] = reason.value
        self._stages[stage].add_event(event, attributes)

    def broken(self, stage: str, replica: str | None, cause: str) -> None:
        """Note that the stream broke on which the batch was outstanding."""
        attributes = {"dockercoins.replica": replica or "", "dockercoins.reason": cause}
        self._stages[stage].add_event("stream broken", attributes)

    def completed(self, stage: str, replica: str | None) -> None:
        """End the span of a stage with the first response, which is of this replica."""
        span = self._stages[stage]
        span.attributes["dockercoins.replica"] = replica or ""
        span.end()

    def traceparent(self, stage: str) -> str:
        """Return the traceparent that a stage's request carries."""
        return self._stages[stage].traceparent

    def counted(self) -> None:
        """End the batch's span: it is counted."""
        self._root.end()

    def dropped(self) -> None:
        """End all spans of a batch that is not counted."""
        for span in (*self._stages.values(), self._root):
            span.end(UNFINISHED)
