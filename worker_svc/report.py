from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.redis.schema import ReplicaStats


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
    """When the last batch in it was counted; without a batch, the moment up to which there was nothing to count."""
    end: float
    """The same moment on the event loop's clock, which tells how old the report is when it is sent."""
    stalled_since_us: int
    """When the last batch was counted, or the worker began, in a report without a batch; otherwise 0."""
    waits_for: str
    """The service that does not answer, in a report without a batch; empty where none stands out."""
    seconds: float
    """Since the report before was made, or since work began."""
    replicas: Mapping[str, Sequence[ReplicaStats]]
    """By service: what was seen of them in these seconds."""
    latest: tuple[tuple[str, float], ...]
    """The latest coins, also those that are too many for the wallet: hex digest and Unix seconds, the oldest first."""
