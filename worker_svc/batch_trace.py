from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Span, Tracing
    from worker_svc.batch import Batch
    from worker_svc.stage import Stage

UNANSWERED = "unanswered when the worker stopped"


class BatchTrace:
    """The spans of one batch that is traced: its own, and one for each step."""

    __slots__ = ("_root", "_steps")

    def __init__(self, root: "Span") -> None:
        self._root = root
        self._steps: dict[str, Span] = {}

    def wanted(self, step: "Stage") -> None:
        """The step is to be done, as soon as a stream has room."""
        attributes = {"rpc.system": "grpc", "rpc.service": step.service, "rpc.method": step.method}
        self._steps[step.name] = self._root.child(step.name, "client", attributes)

    def asked(self, step: "Stage", backend: str | None, again: str = "") -> None:
        """A backend was given the batch, `again` for this cause."""
        attributes = {"dockercoins.backend": backend or ""}
        if again:
            self._steps[step.name].event("asked again", {**attributes, "dockercoins.cause": again})
        else:
            self._steps[step.name].event("asked", attributes)

    def broken(self, step: "Stage", backend: str | None, cause: str) -> None:
        """The stream to a backend that had been given the batch broke."""
        attributes = {"dockercoins.backend": backend or "", "dockercoins.cause": cause}
        self._steps[step.name].event("stream broken", attributes)

    def answered(self, step: "Stage", backend: str | None) -> None:
        """The first answer came, from this backend."""
        span = self._steps[step.name]
        span.set({"dockercoins.backend": backend or ""})
        span.end()

    def traceparent(self, step_name: str) -> str:
        """What the backends of a step are told."""
        return self._steps[step_name].traceparent

    def counted(self) -> None:
        """All is done."""
        self._root.end()

    def dropped(self) -> None:
        """Nobody waits for it any more."""
        for span in (*self._steps.values(), self._root):
            span.end(UNANSWERED)


def begin(tracing: "Tracing", batch: "Batch") -> BatchTrace | None:
    """Trace a batch that begins now, if it is one of those wanted."""
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
