import random

import grpc

FIRST = 0.01
LAST = 2.0

# Ends of calls that a retry can't mend.
PERMANENT = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}
)


class Backoff:
    """Growing, jittered pauses between attempts: 10 ms at first, 2 s at most (seconds)."""

    def __init__(self) -> None:
        self._next = FIRST

    def pause(self) -> float:
        """Return how many seconds to wait before the next attempt."""
        pause, self._next = self._next, min(2 * self._next, LAST)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def slowest(self) -> float:
        """Return how many seconds to wait where another attempt is unlikely to help."""
        self._next = LAST
        return LAST

    def reset(self) -> None:
        """Begin with the shortest pause again, after an attempt that succeeded."""
        self._next = FIRST
