from collections.abc import Sequence
from dataclasses import dataclass

from worker_svc.batch_trace import BatchTrace


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that go through the pipeline together."""

    id: int
    """Unique within the process."""
    count: int
    """Messages."""
    message_size: int
    """Bytes a message."""
    begun: float
    """When work on it began, on the event loop's clock."""
    data: bytes | memoryview = b""
    """count x message_size bytes, once rng has answered."""
    digests: bytes | memoryview = b""
    """count x 32 bytes, once hasher has answered."""
    verified_coins: Sequence[int] = ()
    """Positions of the coins that were hashed once more, which the wallet gets."""
    trace: BatchTrace | None = None
    """None unless it is one of those traced."""
