"""How many requests a server works on at once, how long each takes, and which of the waiting ones is next.

The order is fair: one address after the other, of one address one connection after the other, of one connection in
order. Where each client waits for one request at a time, that is first come, first served. A client with a hundred
waiting requests is served no more often than a client with one.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from chassis.grpc_server.interceptors import Context, MethodInterceptor, StreamBehavior, UnaryBehavior, waited_s
from chassis.timing import sleep_until

# How much lateness the next request makes up for: timers are up to a few milliseconds late, but a process that was
# frozen must not serve all its backlog at once.
MAX_CATCH_UP_S = 0.1

# gRPC passes the event loop one event in each of its iterations, in the order in which they happened, and each request
# is two of them. A client with 250 busy streams had as many before any other client's: others waited 48 ms for a batch
# of 256, and some for seconds (measured).
MAX_CONCURRENT_STREAMS = 4

# A response that takes longer to write no longer counts, if others wait: its client may read slowly.
STALLED_S = 0.05

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items that wait, in fair order by gRPC's peers: an address and a connection, such as `ipv4:10.0.0.3:4711`."""

    def __init__(self) -> None:
        # Items by connection by address; the next ones are in front.
        self._addresses: dict[str, dict[str, deque[T]]] = {}
        # An attribute, since it is read once or twice per request.
        self.length = 0

    def append(self, peer: str, item: T) -> None:
        """Add an item of this peer."""
        self._addresses.setdefault(_address(peer), {}).setdefault(peer, deque()).append(item)
        self.length += 1

    def popleft(self) -> T:
        """Remove and return the next item. Raises StopIteration when there is none."""
        connections = next(iter(self._addresses.values()))
        peer, items = next(iter(connections.items()))
        item = items.popleft()
        self.length -= 1
        self.rotate(peer)
        self._drop_if_empty(peer)
        return item

    def remove(self, peer: str, item: T) -> None:
        """Remove an item, if it is still there."""
        items = self._addresses.get(_address(peer), {}).get(peer, deque())
        if item in items:
            items.remove(item)
            self.length -= 1
            self._drop_if_empty(peer)

    def rotate(self, peer: str) -> None:
        """Move a peer and its address behind all others."""
        address = _address(peer)
        if connections := self._addresses.pop(address, None):
            self._addresses[address] = connections
            if items := connections.pop(peer, None):
                connections[peer] = items

    def _drop_if_empty(self, peer: str) -> None:
        address = _address(peer)
        connections = self._addresses[address]
        if not connections.get(peer):
            connections.pop(peer, None)
            if not connections:
                del self._addresses[address]


def _address(peer: str) -> str:
    return peer.rpartition(":")[0]


@dataclass(slots=True)
class Slot:
    """A request's right to be worked on. Times are the event loop's."""

    peer: str
    begins_at: float
    waited_s: float
    # Once it is completed.
    ended_at: float | None = None


class RateLimiter:
    """Slots, each for at least `delay` seconds, and at most `concurrency` at a time (0: unlimited).

    The delay is the whole service time, of which the work is a part. Where requests queue, a slot begins when the one
    before it should have ended, so that late timers do not add up: ten requests of 0.1 s take one second. A request
    that is cancelled frees its slot at once.
    """

    def __init__(self, delay: float, concurrency: int) -> None:
        self._delay = delay
        self._unlimited = concurrency == 0
        # Since when each slot that is not in use is free.
        self._free: deque[float] = deque([0.0] * concurrency)
        self._waiting: FairQueue[asyncio.Future[float]] = FairQueue()

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return self._waiting.length

    async def acquire(self, peer: str) -> Slot:
        """Wait for a slot. Release it."""
        loop = asyncio.get_running_loop()
        arrived_at = loop.time()
        free_since = await self._free_slot(peer)
        now = loop.time()
        return Slot(peer, max(arrived_at, free_since, now - MAX_CATCH_UP_S), now - arrived_at)

    async def _free_slot(self, peer: str) -> float:
        """Wait for a slot, and return since when it is free."""
        if self._unlimited:
            return 0.0
        if self._free:
            return self._free.popleft()
        granted: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(peer, granted)
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiting.remove(peer, granted)
            else:
                self._free_up(peer, granted.result())
            raise

    async def complete(self, slot: Slot) -> None:
        """Wait for what the work has left of the delay."""
        if self._delay:
            ends_at = slot.begins_at + self._delay
            await sleep_until(ends_at)
            slot.ended_at = ends_at

    def release(self, slot: Slot) -> None:
        """Free the slot for the next request: from now on, unless it is completed."""
        self._free_up(slot.peer, asyncio.get_running_loop().time() if slot.ended_at is None else slot.ended_at)

    def _free_up(self, peer: str, free_since: float) -> None:
        if self._unlimited:
            return
        if self._waiting.length:
            self._waiting.rotate(peer)
            while self._waiting.length:
                granted = self._waiting.popleft()
                if not granted.done():  # it is cancelled, and has not removed itself yet
                    granted.set_result(free_since)
                    return
        self._free.append(free_since)


class ConcurrencyLimiter:
    """Lets some streams at a time use the event loop for a request, from reading it to having written its response."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[object] = set()
        # Those that were holders when this was last checked.
        self._stalling: set[object] = set()
        self._check: asyncio.Handle | None = None
        self._waiting: FairQueue[tuple[object, asyncio.Future[None]]] = FairQueue()

    @property
    def waiting(self) -> int:
        """How many streams wait."""
        return self._waiting.length

    async def acquire(self, stream: object, peer: str) -> None:
        """Wait until this stream may work on a request. Release it."""
        if not self._waiting.length and len(self._holders) < self._limit:
            self._holders.add(stream)
            return
        item = stream, asyncio.get_running_loop().create_future()
        self._waiting.append(peer, item)
        self._check_soon()
        try:
            await item[1]
        except asyncio.CancelledError:
            self._waiting.remove(peer, item)
            self.release(stream, peer)
            raise

    def release(self, stream: object, peer: str) -> None:
        """Let the next stream work, if this one did."""
        self._holders.discard(stream)
        if self._waiting.length:
            self._waiting.rotate(peer)
            self._grant()

    def _grant(self) -> None:
        while self._waiting.length and len(self._holders) < self._limit:
            stream, granted = self._waiting.popleft()
            if not granted.done():  # it is cancelled, and has not removed itself yet
                granted.set_result(None)
                self._holders.add(stream)

    def _check_soon(self) -> None:
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(STALLED_S, self._drop_stalled)

    def _drop_stalled(self) -> None:
        self._holders -= self._stalling
        self._grant()
        self._stalling = set(self._holders)
        self._check = None
        if self._waiting.length:
            self._check_soon()


class LimitInterceptor(MethodInterceptor):
    """Limits the calls of one service, and the requests on its streams."""

    def __init__(self, service: str, delay: float, concurrency: int) -> None:
        super().__init__(service)
        self._rate = RateLimiter(delay, concurrency)
        # With a delay slots are scarce, and a stream that waits for one does not use the event loop.
        self._concurrency = ConcurrencyLimiter(sys.maxsize if delay else MAX_CONCURRENT_STREAMS)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._rate.waiting + self._concurrency.waiting

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:  # noqa: ARG002 - all methods share the limits
        """Return a behavior that waits for a slot."""

        async def limited(request: object, context: Context) -> object:
            slot = await self._rate.acquire(context.peer())
            try:
                response = await behavior(request, context)
                await self._rate.complete(slot)
                return response
            finally:
                self._rate.release(slot)

        return limited

    def stream(self, method: str, behavior: StreamBehavior) -> Any:  # noqa: ARG002 - all methods share the limits
        """Return a behavior in which each request waits for a slot, which its response frees."""
        rate, concurrency = self._rate, self._concurrency

        async def limited(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            peer = context.peer()
            slot: Slot | None = None

            async def admitted() -> AsyncIterator[object]:
                nonlocal slot
                async for request in requests:
                    await concurrency.acquire(context, peer)
                    slot = await rate.acquire(peer)
                    waited_s.set(slot.waited_s)
                    yield request

            try:
                async for response in behavior(admitted(), context):
                    if slot is not None:
                        await rate.complete(slot)
                        rate.release(slot)
                        slot = None
                    yield response
                    concurrency.release(context, peer)
            finally:
                if slot is not None:
                    rate.release(slot)
                concurrency.release(context, peer)

        return limited
