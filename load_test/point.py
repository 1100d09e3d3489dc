from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """How batches travel."""

    STREAM = "stream"
    """Many batches on each of a pool's streams, as mining does it."""
    UNARY = "unary"
    """A call of its own for each step of each batch."""


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of what a sweep varies."""

    mode: Mode
    batch_size: int
    """Messages a batch."""
    window: int
    """Batches in flight at most."""
    message_size: int
    """Bytes a message."""
    rate: str
    """The rate schedule as it was given, empty for as fast as possible."""

    def __str__(self) -> str:
        return f"{self.mode}, batch {self.batch_size}, window {self.window}, message {self.message_size}"
