from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker_svc.batch_stream import BatchStream


@dataclass(eq=False)
class Backend:
    """One server, by the name it gives itself, as a pool sees it."""

    name: str
    streams: "list[BatchStream]" = field(default_factory=list)
    """Those that take new batches, the one asked last at the end."""
    owed: int = 0
    """Batches it has not answered, on streams that are ending too."""
    turn: int = 0
    """When it was last asked: the pool's count of batches at that time."""
