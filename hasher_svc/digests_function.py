from typing import Protocol


class Digests(Protocol):
    """What the kernel does, and its fallback."""

    def __call__(self, data: bytes, message_size: int, start: int = 0) -> bytes:
        """The digests of messages that lie one after the other in data, from `start` on, packed as they are."""
