"""Exponential backoff, and the errors that need the longest."""

import random

import grpc

INITIAL_BACKOFF_S = 0.01
MAX_BACKOFF_S = 2.0

# Codes of errors that a retry can't mend.
PERMANENT = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}
)


class Backoff:
    """Exponential backoff with jitter between attempts."""

    def __init__(self) -> None:
        self._next = INITIAL_BACKOFF_S

    def next_delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        delay, self._next = self._next, min(2 * self._next, MAX_BACKOFF_S)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def maximum(self) -> float:
        """Return the seconds to wait when another attempt is unlikely to help."""
        self._next = MAX_BACKOFF_S
        return MAX_BACKOFF_S

    def reset(self) -> None:
        """Begin with the shortest pause again, after an attempt that succeeded."""
        self._next = INITIAL_BACKOFF_S
