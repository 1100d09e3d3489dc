from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker_svc.backend_view import Sighting


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has done since its last report."""

    sequence: int
    """1 for a process's first report, then one more each."""
    batch_size: int
    """Messages a batch, at the end."""
    hashes: int
    coins: int
    wallet: tuple[tuple[str, bytes], ...]
    """Some of the coins: hex digest and the bytes hashed."""
    begin_us: int
    """Wall-clock microseconds: the end of the report before, or when work began."""
    end_us: int
    """When the last batch in it was counted; equal to begin_us when the report claims no time."""
    seconds: float
    """Since the report before was made, or since work began."""
    backends: Mapping[str, Sequence[Sighting]]
    """By service: what was seen of them in these seconds."""
    latest: tuple[tuple[str, float], ...]
    """The latest coins, also those that are too many for the wallet: hex digest and Unix seconds, the oldest first."""
