import time

from chassis import log

EVERY = 5.0
"""Seconds between two lines about the same trouble."""


class SparingWarning:
    """A warning about what may happen a thousand times a second: a line every few seconds, with how often it did."""

    def __init__(self, event: str) -> None:
        self.times = 0
        """How often it happened, ever."""
        self._event = event
        self._said = 0
        self._cause = ""
        self._silent_until = 0.0

    def note(self, cause: str) -> None:
        """It happened once more."""
        self.times += 1
        self._cause = cause

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        clock = time.monotonic()
        if self.times > self._said and clock >= self._silent_until:
            log.get().warning(self._event, cause=self._cause, times=self.times - self._said)
            self._said = self.times
            self._silent_until = clock + EVERY
