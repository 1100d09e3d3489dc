"""The event loop's attention, shared between clients: a few requests at a time, and who waits comes in turn."""

import asyncio
import contextlib

from chassis.fair_queue import FairQueue

AT_A_TIME = 4
"""Requests. gRPC tells the event loop of one thing that happened each time round, in the order in which they did, and
each request is two of them. A client with 250 streams that were always busy had as many before anybody's else: others
waited 48 ms for a batch of 256, and some for seconds (measured)."""

STALLED = 0.05
"""Seconds after which one that is still not answered no longer counts, if others wait: its client may read slowly."""


class LoopShare:
    """Counts requests from when they are read to when their answers are written."""

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self._at_a_time = at_a_time
        self._holders: set[Attention] = set()
        self._stalling: set[Attention] = set()
        """Those that were holders already when it was last looked."""
        self._look: asyncio.Handle | None = None
        self._waiting: FairQueue[tuple[Attention, asyncio.Future[None]]] = FairQueue()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def attention(self, peer: str) -> "Attention":
        """Hold it while a request of this peer is answered."""
        return Attention(self, peer)

    def take(self, holder: "Attention") -> bool:
        """Whether there was some left, which this one has now; otherwise wait()."""
        if self._waiting or len(self._holders) >= self._at_a_time:
            return False
        self._holders.add(holder)
        return True

    async def wait(self, holder: "Attention", peer: str) -> None:
        """Wait for this peer's turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(peer, (holder, turn))
        if self._look is None:
            self._look = loop.call_later(STALLED, self._look_for_stalled)
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.remove(peer, (holder, turn))
            self.give(holder, peer)
            raise

    def give(self, holder: "Attention", peer: str) -> None:
        """Let the next one have what this one held, if it still does."""
        self._holders.discard(holder)
        self._stalling.discard(holder)
        self._waiting.put_behind(peer)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and len(self._holders) < self._at_a_time:
            holder, turn = self._waiting.popleft()
            with contextlib.suppress(asyncio.InvalidStateError):  # it was cancelled a moment ago
                turn.set_result(None)
                self._holders.add(holder)

    def _look_for_stalled(self) -> None:
        self._holders -= self._stalling
        self._serve()
        self._stalling = set(self._holders)
        self._look = asyncio.get_running_loop().call_later(STALLED, self._look_for_stalled) if self._waiting else None


class Attention:
    """One request's share."""

    __slots__ = ("_peer", "_share")

    def __init__(self, share: LoopShare, peer: str) -> None:
        self._share = share
        self._peer = peer

    async def __aenter__(self) -> None:
        if not self._share.take(self):
            await self._share.wait(self, self._peer)

    async def __aexit__(self, *_: object) -> None:
        self._share.give(self, self._peer)
