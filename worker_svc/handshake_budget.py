import asyncio

RATE = 5.0
"""Handshakes a second. Each costs both ends together 2.3 ms of CPU beyond what a new channel costs anyway."""

BURST = 8.0
"""Handshakes that may come at once after a time without: the first ones, or those of somebody who is missed."""


class HandshakeBudget:
    """How many handshakes of TLS a worker may make with all services together.

    Channels with TLS share no connections, so each new one shakes hands with each backend. With eight backends,
    generations of 1.8 s make less than five handshakes a second; with more, they last as much longer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = BURST
        self._since = self._loop.time()

    def spend(self, handshakes: int) -> None:
        """Note so many that were made; nobody knows before how many it takes, so there may be debts."""
        now = self._loop.time()
        self._left = min(BURST, self._left + RATE * (now - self._since)) - handshakes
        self._since = now

    async def wait(self) -> None:
        """Return when there are no debts."""
        while True:
            self.spend(0)
            if self._left >= 0:
                return
            await asyncio.sleep(-self._left / RATE)
