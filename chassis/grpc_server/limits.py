"""Limits how many requests a server processes at once, makes each take at least `delay`, and queues the others fairly.

The order is fair: round-robin over addresses, then over the connections of an address, then first in, first out. Where
each client waits for one request at a time, that is first come, first served. A client with a hundred
waiting requests is served no more often than a client with one.
"""

import asyncio
import math
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from chassis.timing import TIMER_SLACK_S

# At most this much lateness is carried over to the next request: timers are up to a few milliseconds late, but a
# process that was frozen must not serve all its backlog at once.
MAX_CATCH_UP_S = 0.1

# The most requests at once without a delay, each from when it is read until its response is written.
# gRPC delivers one event per iteration of the event loop, first in, first out; a request is two events. Without a
# limit, one client with 250 busy streams delayed other clients by 48 ms at 256 messages per batch, and some by seconds
# (measured).
MAX_CONCURRENT_REQUESTS = 4

# After this time a response that is still being written releases its slot if others wait: a slow reader must not block
# them.
WRITE_LEASE_S = 0.05

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items that wait, in fair order by gRPC's peers: an address and a connection, such as `ipv4:10.0.0.3:4711`."""

    def __init__(self) -> None:
        # Items by connection by address; the next ones are in front.
        self._addresses: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        # An attribute, since it is read once or twice per request.
        self.length = 0

    def append(self, peer: str, item: T) -> None:
        """Add an item of this peer."""
        self._addresses.setdefault(_address(peer), OrderedDict()).setdefault(peer, deque()).append(item)
        self.length += 1

    def popleft(self) -> T:
        """Remove and return the next item. There must be one."""
        peer, items = next(iter(next(iter(self._addresses.values())).items()))
        item = items[0]
        self.rotate(peer)
        self.remove(peer, item)
        return item

    def remove(self, peer: str, item: T) -> None:
        """Remove an item, if it is still there."""
        address = _address(peer)
        connections = self._addresses.get(address, OrderedDict())
        items = connections.get(peer, deque())
        if item in items:
            items.remove(item)
            self.length -= 1
            if not items:
                del connections[peer]
            if not connections:
                del self._addresses[address]

    def rotate(self, peer: str) -> None:
        """Move a peer and its address behind all others."""
        if connections := self._addresses.get(_address(peer)):
            self._addresses.move_to_end(_address(peer))
            if peer in connections:
                connections.move_to_end(peer)


def _address(peer: str) -> str:
    return peer.rpartition(":")[0]


@dataclass(slots=True, eq=False)
class Slot:
    """A request's permission to be processed. Times are the event loop's."""

    peer: str
    arrived_at: float
    acquired_at: float = 0.0
    # In a RateLimiter, the end of its service time.
    ends_at: float = 0.0
    # In a RateLimiter, whether the request was processed until then.
    completed: bool = False


class ConcurrencyLimiter:
    """Grants at most `limit` slots at a time (0: unlimited), in fair order.

    A slot that is held for longer than its lease is taken away when others wait.
    """

    def __init__(self, limit: int, lease_s: float = math.inf) -> None:
        self._limit = limit or sys.maxsize
        self._lease_s = lease_s
        self._held: set[Slot] = set()
        self._waiting: FairQueue[tuple[Slot, asyncio.Future[None]]] = FairQueue()
        self._check: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return self._waiting.length

    async def acquire(self, peer: str) -> Slot:
        """Wait for a slot and return it; the caller must release it."""
        loop = asyncio.get_running_loop()
        slot = Slot(peer, loop.time())
        if len(self._held) < self._limit:
            self._hold(slot, slot.arrived_at)
            return slot
        waiting = slot, loop.create_future()
        self._waiting.append(peer, waiting)
        self._check_soon()
        try:
            await waiting[1]
        except asyncio.CancelledError:
            self._waiting.remove(peer, waiting)
            self.release(slot)
            raise
        return slot

    async def complete(self, slot: Slot) -> None:
        """Do nothing: a request holds its slot until its response is written, when the caller releases it."""

    def release(self, slot: Slot) -> None:
        """Grant the slot to the next request, if this one still holds it."""
        if slot in self._held:
            self._held.remove(slot)
            if self._waiting.length:
                self._grant(slot.peer)

    def _hold(self, slot: Slot, now: float) -> None:
        slot.acquired_at = now
        self._held.add(slot)

    def _grant(self, previous_peer: str) -> None:
        self._waiting.rotate(previous_peer)
        while self._waiting.length and len(self._held) < self._limit:
            following, granted = self._waiting.popleft()
            if not granted.done():  # it is cancelled, and has not removed itself yet
                granted.set_result(None)
                self._hold(following, asyncio.get_running_loop().time())

    def _check_soon(self) -> None:
        if self._check is None and self._lease_s < math.inf:
            self._check = asyncio.get_running_loop().call_later(self._lease_s, self._check_leases)

    def _check_leases(self) -> None:
        self._check = None
        expired = asyncio.get_running_loop().time() - self._lease_s
        for slot in [slot for slot in self._held if slot.acquired_at <= expired]:
            self.release(slot)
        if self._waiting.length:
            self._check_soon()


class RateLimiter(ConcurrencyLimiter):
    """Limits the rate by making each request hold its slot for at least `delay` seconds. It is no token bucket.

    The delay is the whole service time, of which the work is a part. Where requests queue, a slot begins when the one
    before it should have ended, so that late timers do not add up: ten requests of 0.1 s take one second. A request
    that is cancelled frees its slot at once.
    """

    def __init__(self, delay: float, limit: int) -> None:
        """Grant at most `limit` slots at a time (0: unlimited), in fair order."""
        super().__init__(limit)
        self._delay = delay
        # The times at which used slots became free.
        self._free_since: deque[float] = deque()

    def _hold(self, slot: Slot, now: float) -> None:
        super()._hold(slot, now)
        free_since = self._free_since.popleft() if self._free_since else 0.0
        slot.ends_at = max(slot.arrived_at, free_since, now - MAX_CATCH_UP_S) + self._delay

    async def complete(self, slot: Slot) -> None:
        """Wait for the rest of the delay, and release the slot."""
        await asyncio.sleep(slot.ends_at - TIMER_SLACK_S - asyncio.get_running_loop().time())
        slot.completed = True
        self.release(slot)

    def release(self, slot: Slot) -> None:
        """Grant the slot to the next request, if this one still holds it."""
        if slot in self._held:
            self._free_since.append(slot.ends_at if slot.completed else asyncio.get_running_loop().time())
            super().release(slot)
