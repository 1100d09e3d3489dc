from enum import StrEnum


class EndpointState(StrEnum):
    """How an endpoint does as a worker sees it, the most useful first."""

    SERVING = "serving"
    SLOW = "slow"
    """Its oldest outstanding batch is over the hedging delay."""
    EJECTED = "ejected"
    """Its digests were wrong, and it gets no more batches."""
    DRAINING = "draining"
    """It gets no more batches, and still completes some."""
    CONNECTING = "connecting"
    """DNS names it, and it does not serve."""
    GONE = "gone"
    """It served a while ago, and DNS does not name it any more, or names another replica at its address."""
