"""When an answer is late, and how many of the late ones may be asked of a second backend.

Hedged requests, of which the first answer wins: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2),
2013. The budget is a token bucket: when all is late, as on an overloaded service, asking twice would sink it.
"""

LATE_FACTOR = 4.0
"""Times the usual latency after which an answer is late."""

# Where there has been no answer yet, nobody knows what is usual: then this is logged, and not hedged.
FIRST_SLOW_S = 3.0

LEAST_LATE = 0.5
"""Seconds before which none is: shorter than the 2 to 7 s in which gRPC notices a frozen peer, longer than a busy
machine's hiccups, so that a rotation or a polite stop asks nothing twice."""

BUDGET = 0.05
"""Part of all questions that may be asked twice."""

MEMORY = 1 / 32
"""Weight of the newest latency in the usual one."""


class Hedging:
    """Learns what latency is usual, and keeps the budget."""

    def __init__(self, capacity: int) -> None:
        """With a budget that saves up for at most so many questions asked twice; none at the start.

        As many as are in flight: all that a frozen backend may hold is then asked of another at once.
        """
        self.capacity = capacity
        self._tokens = 0.0
        self._usual: float | None = None

    @property
    def late_after(self) -> float:
        """Seconds without an answer after which it is late; never, until there has been one."""
        return float("inf") if self._usual is None else max(LATE_FACTOR * self._usual, LEAST_LATE)

    @property
    def slow_after(self) -> float:
        """Seconds without an answer after which it is said: as soon as it is late."""
        return FIRST_SLOW_S if self._usual is None else self.late_after

    def asked(self) -> None:
        """A question was asked for the first time, which earns its part of the budget."""
        self._tokens = min(self._tokens + BUDGET, float(self.capacity))

    def answered(self, latency: float) -> None:
        """A question that was asked once was answered after so many seconds."""
        self._usual = latency if self._usual is None else self._usual + MEMORY * (latency - self._usual)

    @property
    def affordable(self) -> bool:
        """Whether the budget allows another question to be asked twice."""
        return self._tokens >= 1

    def spend(self) -> None:
        """Take one question from the budget."""
        self._tokens -= 1
