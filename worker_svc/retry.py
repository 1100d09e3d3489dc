"""When a batch is sent again: a retry after an error, with backoff, and a hedge after the hedging delay."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

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
# The part of all batches that may be hedged. On an overloaded service all are overdue, and hedging would double its
# load.
HEDGING_RATIO = 0.05
# A replica's usual latency falls with this time constant. It rises at once, so that a queue that fills is no reason to
# hedge.
LATENCY_FALL_S = 1.0


class Reason(StrEnum):
    """Why a batch is sent again."""

    # The stream broke on which it was outstanding.
    BROKEN = "broken"
    WRONG_DIGEST = "wrong_digest"
    # It exceeds the hedging delay, so it is sent to a second replica.
    OVERDUE = "overdue"


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


@dataclass(slots=True)
class PeakEwma:
    """The usual latency of one replica: an EWMA that rises to each peak at once, and falls slowly."""

    # The latest value, in seconds, once it is known.
    value_s: float | None = None
    # The batches completed since the last update without a hedge, and their latencies in all.
    batches: int = 0
    latency_s: float = 0.0

    def update(self, weight: float, initial_s: float) -> None:
        """Let the batches since the last update change the value, which is at least `initial_s` at first."""
        if self.batches:
            mean = self.latency_s / self.batches
            before = initial_s if self.value_s is None else self.value_s
            self.value_s = max(mean, before + weight * (mean - before))
            self.batches, self.latency_s = 0, 0.0


class Hedging:
    """The hedging delay, from the usual latency, and the hedging budget, a token bucket.

    The usual latency is the lower median of the replicas', so that one slow replica of two does not raise it. Of hedged
    requests the first response wins: Dean and Barroso, "The Tail at Scale", Communications of
    the ACM 56(2), 2013.
    """

    def __init__(self, capacity: int) -> None:
        """Hold at most `capacity` tokens, enough for all batches on one frozen replica. The bucket starts empty."""
        self.capacity = capacity
        # Seconds without a response after which a batch is overdue, and is hedged if the budget allows it.
        self.delay = INITIAL_HEDGING_DELAY_S
        self._tokens = 0.0
        self._usual_s = 0.0
        self._updated_at = float("-inf")

    def update(self, replicas: Iterable[PeakEwma], now: float) -> None:
        """Let the batches since the last update change the usual latency, and add their shares of a token."""
        weight = -math.expm1((self._updated_at - now) / LATENCY_FALL_S)
        self._updated_at = now
        latencies = []
        for replica in replicas:
            self._tokens = min(self._tokens + HEDGING_RATIO * replica.batches, float(self.capacity))
            # The first batches of a replica that joins find no queue, and would be a low measure for the others.
            replica.update(weight, self._usual_s)
            if replica.value_s is not None:
                latencies.append(replica.value_s)
        if latencies:
            self._usual_s = sorted(latencies)[(len(latencies) - 1) // 2]
            self.delay = max(HEDGING_DELAY_FACTOR * self._usual_s, MIN_HEDGING_DELAY_S)

    def take_token(self) -> bool:
        """Take a token for one hedge, and return whether there was one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
