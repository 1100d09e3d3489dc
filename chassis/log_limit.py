import time


class LogLimit:
    """Lets one event through every so many seconds, so that a storm is a few lines and a count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._held_back = 0

    def held_back(self) -> int | None:
        """How many events were held back since the last one let through; None when this one is held back too."""
        now = time.monotonic()
        if now < self._next:
            self._held_back += 1
            return None
        self._next = now + self._seconds
        count, self._held_back = self._held_back, 0
        return count
