from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Span, Tracing
    from worker_svc.batch import Batch
    from worker_svc.stage import Stage

# The reason of a hedge; those of a retry are the pool's.
HEDGE = "slow"
UNFINISHED = "no response when the worker stopped"


class BatchTrace:
    """The spans of one traced batch: its own, and one for each stage."""

    __slots__ = ("_root", "_stages")

    def __init__(self, root: "Span") -> None:
        self._root = root
        self._stages: dict[str, Span] = {}

    def submitted(self, stage: "Stage") -> None:
        """Begin the span of a stage, in which the batch may wait for a stream with room."""
        attributes = {"rpc.system": "grpc", "rpc.service": stage.service, "rpc.method": stage.method}
        self._stages[stage.name] = self._root.child(stage.name, "client", attributes)

    def sent(self, stage: "Stage", replica: str | None, reason: str = "") -> None:
        """Note that the batch was sent to a replica; again for a reason, which a first attempt does not have."""
        event = "hedged" if reason == HEDGE else "retried" if reason else "sent"
        attributes = {"dockercoins.replica": replica or ""}
        if reason:
            attributes["dockercoins.reason"] = reason
        self._stages[stage.name].event(event, attributes)

    def broken(self, stage: "Stage", replica: str | None, reason: str) -> None:
        """Note that the stream broke on which the batch was outstanding."""
        attributes = {"dockercoins.replica": replica or "", "dockercoins.reason": reason}
        self._stages[stage.name].event("stream broken", attributes)

    def completed(self, stage: "Stage", replica: str | None) -> None:
        """End the span of a stage with the first response, which is of this replica."""
        span = self._stages[stage.name]
        span.set({"dockercoins.replica": replica or ""})
        span.end()

    def traceparent(self, stage_name: str) -> str:
        """Return what the request of a stage carries."""
        return self._stages[stage_name].traceparent

    def counted(self) -> None:
        """End the batch's span: it is counted."""
        self._root.end()

    def dropped(self) -> None:
        """End all spans of a batch that is not counted."""
        for span in (*self._stages.values(), self._root):
            span.end(UNFINISHED)


def begin(tracing: "Tracing", batch: "Batch") -> BatchTrace | None:
    """Trace a batch that begins now, if it is one of those sampled."""
    root = tracing.root(
        "batch",
        "internal",
        {
            "dockercoins.batch.id": batch.id,
            "dockercoins.batch.size": batch.count,
            "dockercoins.message.size": batch.message_size,
        },
    )
    return None if root is None else BatchTrace(root)
