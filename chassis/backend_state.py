from enum import StrEnum


class BackendState(StrEnum):
    """How a backend does as a worker sees it, the best first."""

    SERVING = "serving"
    LATE = "late"
    """Its oldest unanswered batch is late."""
    EJECTED = "ejected"
    """It answered wrongly, and gets no more batches."""
    GONE = "gone"
    """It took batches a while ago, and takes none now."""
