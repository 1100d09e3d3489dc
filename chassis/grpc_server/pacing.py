"""How long one request takes and how many are served at once, where that is a setting and not the machine's doing."""

import asyncio
from collections import deque
from typing import Self

from chassis.grpc_server.fair_queue import FairQueue
from chassis.grpc_server.loop_share import Attention, LoopShare, Undivided
from chassis.timing import sleep_until

MAX_CATCH_UP = 0.1
"""Seconds of lateness that the next request makes up for: timers are up to a few milliseconds late, a process that was
frozen is not to answer all its backlog at once."""


class Pacing:
    """Turns at the service: each takes `delay` seconds, at most `concurrency` at a time (0: unlimited), and who waits
    has one after the other (see fair_queue).

    The wait is what the work has left of the delay. Where requests queue, one begins when the one before it should have
    ended, so that a late timer does not add up: ten requests of 0.1 s take one second. Who gives up makes room at once.
    """

    def __init__(self, delay: float, concurrency: int) -> None:
        self.delay = delay
        self._unlimited = concurrency == 0
        self._free: deque[float] = deque([0.0] * concurrency)
        self._loop_share = LoopShare()
        self._waiting: FairQueue[asyncio.Future[float]] = FairQueue()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._waiting.length + self._loop_share.waiting.length

    def turn(self, peer: str) -> "Turn":
        """Hold one of the places for this peer while the work inside is done, for `delay` seconds at least."""
        return Turn(self, peer)

    def attention(self, peer: str) -> Attention | Undivided:
        """The share that a stream has of the event loop while it answers a request.

        With a delay it is the turns that are short, and waiting for one is no work.
        """
        return Undivided() if self.delay else self._loop_share.attention(peer)

    async def take(self, peer: str) -> float:
        """Wait for a place; since when it is free. Give it back."""
        if self._unlimited:
            return 0.0
        if self._free:
            return self._free.popleft()
        place: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(peer, place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._waiting.remove(peer, place)
            else:
                self.give(peer, place.result())
            raise

    def give(self, peer: str, free_since: float) -> None:
        """Let the next one have the place that this peer had."""
        if self._unlimited:
            return
        if self._waiting.length:
            self._waiting.put_behind(peer)
            while self._waiting.length:
                place = self._waiting.popleft()
                if not place.done():
                    place.set_result(free_since)
                    return
        self._free.append(free_since)


class Turn:
    """A turn at the service.

    A class, since a generator with contextlib around it took 0.03 ms of each round trip of a single hash (measured).
    """

    __slots__ = ("_begin", "_pacing", "_peer", "waited")

    def __init__(self, pacing: Pacing, peer: str) -> None:
        self._pacing = pacing
        self._peer = peer
        self._begin = 0.0
        self.waited = 0.0
        """Seconds until the turn came."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        free_since = await self._pacing.take(self._peer)
        now = loop.time()
        self.waited = now - arrived
        self._begin = max(arrived, free_since, now - MAX_CATCH_UP)
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        delay = self._pacing.delay
        end = self._begin
        try:
            if error is None and delay:
                end += delay
                await sleep_until(end)
        except asyncio.CancelledError:
            end = min(end, asyncio.get_running_loop().time())
            raise
        finally:
            self._pacing.give(self._peer, end)
