import time
from typing import Literal

from chassis import log


class SparingLog:
    """A line about what may happen a thousand times a second: one every few seconds, with how often it did.

    Somebody must flush it about as often, or the last times are not said until it happens again.
    """

    def __init__(
        self, event: str, every: float = 5.0, level: Literal["info", "warning", "error"] = "warning", **fields: str
    ) -> None:
        """Log this event at most once in `every` seconds, with these fields in each line."""
        self.times = 0
        """How often it happened, ever."""
        self._log = getattr(log.get(**fields), level)
        self._event = event
        self._every = every
        self._said = 0
        self._last: dict[str, object] = {}
        self._silent_until = 0.0

    def note(self, **fields: object) -> None:
        """It happened once more; of several that share a line, the fields of the last are logged."""
        self.times += 1
        self._last = fields
        self.flush()

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._say(now)

    def close(self) -> None:
        """Say what is not yet said, for it does not happen any more."""
        self._say(time.monotonic())

    def _say(self, now: float) -> None:
        if self.times > self._said:
            self._log(self._event, **self._last, times=self.times - self._said)
            self._said = self.times
            self._silent_until = now + self._every
