"""Who waits for a turn: one address after the other, of one address one connection after the other, each in order.

Where everybody waits for one thing at a time, that is first come, first served. Who has a hundred requests waiting gets
no more turns for it than who has one.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


def address_of(peer: str) -> str:
    """The part of a gRPC peer, such as `ipv4:10.0.0.3:4711`, that its connections have in common."""
    return peer.rpartition(":")[0]


class FairQueue(Generic[T]):
    """What waits, for peers as gRPC names them: an address with the port of one connection."""

    def __init__(self) -> None:
        # The next ones are in front.
        self._lines: dict[str, dict[str, deque[T]]] = {}
        self.length = 0
        """As an attribute, which is looked at once or twice a request."""

    def append(self, peer: str, item: T) -> None:
        """Have an item of this peer wait."""
        self._lines.setdefault(address_of(peer), {}).setdefault(peer, deque()).append(item)
        self.length += 1

    def popleft(self) -> T:
        """What is next. Raises StopIteration when nothing waits."""
        address, lines = next(iter(self._lines.items()))
        peer, line = next(iter(lines.items()))
        item = line.popleft()
        self.length -= 1
        self.put_behind(peer)
        self._drop_if_empty(address, peer)
        return item

    def remove(self, peer: str, item: T) -> None:
        """Have an item wait no longer, if it does."""
        address = address_of(peer)
        line = self._lines.get(address, {}).get(peer, ())
        if item in line:
            self._lines[address][peer].remove(item)
            self.length -= 1
            self._drop_if_empty(address, peer)

    def put_behind(self, peer: str) -> None:
        """Let all others go first, for this one has just had what it waited for."""
        address = address_of(peer)
        if lines := self._lines.pop(address, None):
            self._lines[address] = lines
            if line := lines.pop(peer, None):
                lines[peer] = line

    def _drop_if_empty(self, address: str, peer: str) -> None:
        lines = self._lines[address]
        if not lines.get(peer):
            lines.pop(peer, None)
            if not lines:
                del self._lines[address]
