from dataclasses import dataclass

from worker_svc.batch import Batch


@dataclass(slots=True, eq=False)
class Question:
    """One step of a batch, for as long as nobody has answered it."""

    batch: Batch
    submitted: float
    """When it was first to be asked, on the event loop's clock."""
    asked_at: float = 0.0
    """When it was asked last, on the event loop's clock."""
    asked_of: str | None = None
    """The backend asked last, which is the worst choice for the next time."""
    stream: int = 0
    """The number of the stream that it was asked on last."""
    late: bool = False
    """Whether its answer was found to be late since it was asked last."""
    pending: int = 0
    """Streams that owe the answer: none while it waits, two once it is hedged."""
    withdrawn: str = ""
    """Why the last stream that owed the answer no longer does: it is `broken`, or its backend's answers are `wrong`."""
    hedged: bool = False
    """Whether a second backend was asked because the first was late."""

    @property
    def again(self) -> str:
        """Why it is to be asked once more: for want of an answer from whom it was asked of; empty the first time."""
        if self.asked_of is None:
            return ""
        return "late" if self.pending else self.withdrawn
