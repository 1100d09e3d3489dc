from dataclasses import dataclass


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
