"""When to look for backends again: one generation of streams after the other.

gRPC balances when a stream opens and resolves names only when a connection drops, so a long-lived stream never sees a
new replica. Therefore streams live two seconds: every generation is a new channel, which asks DNS again, and streams
opened there, while the old ones answer what they owe and end.
"""

import asyncio
import random
import re
from collections.abc import Callable, Collection

from chassis.log import ThrottledLogger
from worker_svc.backoff import LAST
from worker_svc.expectation import Expectation
from worker_svc.generation import DRAIN_LIMIT, Generation
from worker_svc.handshake_budget import HandshakeBudget

JITTER = 0.1
"""Part of a generation by which its length varies, so that workers started together do not rotate together."""

HURRIED_LENGTH = 0.3
"""Seconds that a generation lives while backends are missing, so that whoever is back takes part before the next one
goes. Without this, a restart of three one by one had a third of the speed for a second (measured)."""

LINGERING_TIME = 0.3
"""Seconds for which streams live on whose backend was not found again while others were missing already. It stops, or
it had no time to answer: in either case what it does until others are back is welcome."""

RETRY_PAUSE = 0.05
"""Seconds between attempts at a channel while there is no backend at all."""

_UNTRUSTED = re.compile("(?i)verif|tls handshake failed")
"""In what gRPC says of a channel without a backend where servers answer and their certificates are not accepted. Of a
frozen server, which begins no handshake, it says "Handshake read failed"."""

# What gRPC's words mean where they say it to few.
_MEANINGS = (
    (re.compile("backend unhealthy"), "its health service does not say that this service serves"),
    (re.compile("WRONG_VERSION_NUMBER"), "it speaks no TLS"),
)
_MEANINGS_WITHOUT_TLS = (
    (re.compile("Socket closed|reset by peer"), "it may want TLS, for which TLS_CERT must be set"),
)

MAX_DETAILS = 400
"""Characters of it that are said."""


class Rotation:
    """Keeps a generation of streams open, and replaces it every few seconds."""

    def __init__(
        self,
        make_generation: Callable[[], Generation],
        *,
        length: float,
        target: str,
        name: str,
        budget: HandshakeBudget | None,
    ) -> None:
        """A rotation every `length` seconds, or sooner while fewer backends are found than before.

        Later where there is a budget and it is used up. Target and name are for the log.
        """
        self._make_generation = make_generation
        self._length = length
        self._budget = budget
        self.hopeless = False
        """Whether the last break was one that trying again can't mend."""
        self._current: Generation | None = None
        self._generations: list[Generation] = []
        self._expectation = Expectation()
        self._hurried = False
        """Whether backends are missing."""
        self._draining: set[asyncio.Task[None]] = set()
        self._given_up = ThrottledLogger("streams given up, no answer", to=name)
        self._untrusted = ThrottledLogger(
            "no certificate to be trusted, trying again seldom", level="error", to=name, target=target
        )
        self.broken = ""
        """How the last stream broke since the last attempt began; whoever has the streams says so."""
        self.cause = ""
        """Why the last attempt found no backend, mostly in gRPC's words."""

    async def run(self) -> None:
        """Rotate until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if self._budget is not None:
                await self._budget.wait()
            began = loop.time()
            await self._rotate()
            for each in (self._given_up, self._untrusted):
                each.flush()
            if self._current is not None and (found := self._current.backends):
                self._hurried = self._expectation.unmet_by(found, loop.time())
                await asyncio.sleep(self._next_length() - (loop.time() - began))
            else:
                await asyncio.sleep(LAST if self.hopeless else RETRY_PAUSE)

    def _next_length(self) -> float:
        if self._hurried:
            return min(HURRIED_LENGTH, self._length)
        return self._length * random.uniform(1 - JITTER, 1)  # noqa: S311 - jitter is no secret

    async def _rotate(self) -> None:
        self.broken = ""
        generation = self._make_generation()
        self._generations.append(generation)
        try:
            await generation.open()
        except TimeoutError as error:
            self._look_at_cause(await generation.cause() or self.broken or str(error))
            self._retire(generation)
        else:
            if self._budget is not None:
                self._budget.spend(len(generation.backends))
            self.hopeless = False
            self._untrusted.clear()
            self.cause = ""
            previous, self._current = self._current, generation
            if previous is not None:
                self._retire(
                    previous, but=set(previous.backends).difference(generation.backends) if self._hurried else ()
                )

    def _look_at_cause(self, cause: str) -> None:
        self.cause = cause[:MAX_DETAILS]
        for words, meaning in (*_MEANINGS, *(_MEANINGS_WITHOUT_TLS if self._budget is None else ())):
            if words.search(cause):
                self.cause += f"; {meaning}"
        if self._budget is not None and _UNTRUSTED.search(cause):
            self.hopeless = True
            self._untrusted.log(details=self.cause)

    def _retire(self, generation: Generation, *, but: Collection[str] = ()) -> None:
        generation.retire(but=but)
        task = asyncio.create_task(self._drain(generation, LINGERING_TIME if but else 0))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, generation: Generation, after: float) -> None:
        await asyncio.sleep(after)
        if given_up := await generation.drain(DRAIN_LIMIT):
            self._given_up.log(streams=given_up, seconds=DRAIN_LIMIT)
        self._generations.remove(generation)

    async def close(self, limit: float) -> None:
        """Half-close all streams, and cancel after `limit` seconds what has not ended by then. End run() first."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*(generation.drain(limit) for generation in self._generations))
