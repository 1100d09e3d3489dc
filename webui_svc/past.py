import re
import secrets
from collections import deque

MOST = 240
"""Updates that are kept: a minute of four a second."""

MOST_BYTES = 2 * 1024 * 1024

_ID = re.compile(r"([0-9a-f]{16})-([0-9]{1,15})")


class Past:
    """The latest updates under numbers that count up, for browsers that missed some. All browsers share the bytes."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(8)  # the same number means something else in another process
        self._updates: deque[bytes] = deque()
        self._bytes = 0
        self.last = 0
        """The newest update's number."""

    def add(self, update: bytes) -> None:
        """One more."""
        self.last += 1
        update = self.identified(update)
        self._updates.append(update)
        self._bytes += len(update)
        while len(self._updates) > MOST or self._bytes > MOST_BYTES:
            self._bytes -= len(self._updates.popleft())

    def since(self, number: int) -> bytes | None:
        """All updates after one; None when not all are kept, or there was none of that number."""
        missing = self.last - number
        if not 0 <= missing <= len(self._updates):
            return None
        if missing == 1:
            return self._updates[-1]
        return b"".join(list(self._updates)[len(self._updates) - missing :])

    def forget(self) -> None:
        """Keep none: whoever knows an older state must learn all anew."""
        self.last += 1
        self._updates.clear()
        self._bytes = 0

    def identified(self, event: bytes) -> bytes:
        """An event with the id of the newest update, which it contains."""
        return b"id: %b-%d\n%b" % (self._process.encode(), self.last, event)

    def number(self, event_id: str | None) -> int | None:
        """The number of an update of this process by its id, as a browser has it; None for any other."""
        match = _ID.fullmatch(event_id or "")
        return int(match[2]) if match and match[1] == self._process else None
