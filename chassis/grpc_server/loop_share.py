"""The event loop's attention, shared between clients: a few requests at a time, and who waits comes in turn."""

import asyncio

from chassis.grpc_server.fair_queue import FairQueue

AT_A_TIME = 4
"""Requests. gRPC tells the event loop of one thing that happened each time round, in the order in which they did, and
each request is two of them. A client with 250 streams that were always busy had as many before anybody else's: others
waited 48 ms for a batch of 256, and some for seconds (measured)."""

STALLED = 0.05
"""Seconds after which one that is still not answered no longer counts, if others wait: its client may read slowly."""


class LoopShare:
    """Counts streams that answer a request, from when it is read to when the answer is written."""

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self.at_a_time = at_a_time
        self.holders: set[Attention] = set()
        self._stalling: set[Attention] = set()
        """Those that were holders already when it was last looked."""
        self._look: asyncio.Handle | None = None
        self.waiting: FairQueue[tuple[Attention, asyncio.Future[None]]] = FairQueue()

    def attention(self, peer: str) -> "Attention":
        """For a stream of this peer."""
        return Attention(self, peer)

    def look_soon(self) -> None:
        """Let nobody wait too long for those that stall."""
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(STALLED, self._look_for_stalled)

    def serve(self) -> None:
        """Let as many of those that wait have a turn as there may be."""
        while self.waiting.length and len(self.holders) < self.at_a_time:
            holder, turn = self.waiting.popleft()
            if not turn.done():  # it was not cancelled a moment ago
                turn.set_result(None)
                self.holders.add(holder)

    def _look_for_stalled(self) -> None:
        self.holders -= self._stalling
        self.serve()
        self._stalling = set(self.holders)
        self._look = None
        if self.waiting.length:
            self.look_soon()


class Attention:
    """One stream's share. It is no context: entering one takes as long as all that is done here."""

    __slots__ = ("_peer", "_share")

    def __init__(self, share: LoopShare, peer: str) -> None:
        self._share = share
        self._peer = peer

    def take(self) -> bool:
        """Whether there is some left, which this one has now; otherwise wait(). Give it back."""
        share = self._share
        if share.waiting.length or len(share.holders) >= share.at_a_time:
            return False
        share.holders.add(self)
        return True

    async def wait(self) -> None:
        """Wait for it."""
        waiting = self, asyncio.get_running_loop().create_future()
        self._share.waiting.append(self._peer, waiting)
        self._share.look_soon()
        try:
            await waiting[1]
        except asyncio.CancelledError:
            self._share.waiting.remove(self._peer, waiting)
            self.give()
            raise

    def give(self) -> None:
        """Let the next one have it, if this one still does."""
        share = self._share
        share.holders.discard(self)
        if share.waiting.length:
            share.waiting.put_behind(self._peer)
            share.serve()


class Undivided:
    """The share of a stream that need not share."""

    def take(self) -> bool:
        """It has it."""
        return True

    async def wait(self) -> None:
        """It never does."""

    def give(self) -> None:
        """It keeps it."""
