"""Whether backends are missing that were there a moment ago."""

MISSING_LIMIT = 10.0
"""Seconds in which no backend came or went, after which those that are missing are taken for gone. Twice what it takes
a slow machine to stop a container and start it again."""


class Expectation:
    """As many backends as there were, until fewer have been there for long."""

    def __init__(self) -> None:
        self._expected = 0
        self._found: list[str] = []
        self._found_at = 0.0
        """When just these were found for the first time, in seconds."""

    def unmet_by(self, found: list[str], now: float) -> bool:
        """Whether there are fewer now than are expected, by name and by a monotonic clock in seconds."""
        if found != self._found:
            self._found, self._found_at = found, now
        if len(found) < self._expected and now - self._found_at < MISSING_LIMIT:
            return True
        self._expected = len(found)
        return False
