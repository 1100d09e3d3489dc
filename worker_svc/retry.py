"""When a batch is sent again: after an error with backoff, and without a response after the hedging delay."""

import random

import grpc

INITIAL_BACKOFF_S = 0.01
MAX_BACKOFF_S = 2.0

# Codes of errors that a retry can't mend, and which are retried with MAX_BACKOFF_S.
PERMANENT = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}
)

# A batch is hedged after this many times the usual latency.
HEDGING_DELAY_FACTOR = 4.0
# Shorter than the 2 to 7 s in which gRPC notices a frozen peer, longer than a busy machine's hiccups.
MIN_HEDGING_DELAY_S = 0.5
# The delay before the first response, when the usual latency is unknown.
INITIAL_HEDGING_DELAY_S = 3.0
# The part of all batches that may be hedged. On an overloaded service all are slow, and hedging would double the load.
HEDGING_RATIO = 0.05
# The weight of one batch in the usual latency, which is the mean of all as long as there are few.
LATENCY_WEIGHT = 1 / 32


class Backoff:
    """Exponential backoff with jitter between attempts."""

    def __init__(self) -> None:
        self._next = INITIAL_BACKOFF_S

    def next_delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        delay, self._next = self._next, min(2 * self._next, MAX_BACKOFF_S)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def reset(self) -> None:
        """Begin with the shortest pause again, after an attempt that succeeded."""
        self._next = INITIAL_BACKOFF_S


class Hedging:
    """The hedging delay, from the usual latency, and the hedging budget, a token bucket.

    Of hedged requests the first response wins: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2),
    2013.
    """

    def __init__(self, capacity: int) -> None:
        """Hold at most `capacity` tokens, enough for all batches on one frozen replica. The bucket starts empty."""
        self.capacity = capacity
        # Seconds without a response after which a batch is slow, and is hedged if the budget allows it.
        self.delay = INITIAL_HEDGING_DELAY_S
        # The batches completed since the last update without a hedge, and their latencies in all.
        self.batches = 0
        self.latency_s = 0.0
        self._tokens = 0.0
        self._usual_s = 0.0
        self._completed = 0

    def update(self) -> None:
        """Let the batches since the last update change the usual latency, and add their shares of a token."""
        if not self.batches:
            return
        self._completed += self.batches
        weight = max(1 - (1 - LATENCY_WEIGHT) ** self.batches, self.batches / self._completed)
        self._usual_s += weight * (self.latency_s / self.batches - self._usual_s)
        self.delay = max(HEDGING_DELAY_FACTOR * self._usual_s, MIN_HEDGING_DELAY_S)
        self._tokens = min(self._tokens + HEDGING_RATIO * self.batches, float(self.capacity))
        self.batches, self.latency_s = 0, 0.0

    def take_token(self) -> bool:
        """Take a token for one hedge, and return whether there was one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
