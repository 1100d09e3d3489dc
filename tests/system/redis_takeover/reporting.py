"""A ledger that reports to servers which take over from one another, and what they hold in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support.ledgers import SECOND_US, report
from support.redis_deployment import Deployment

from worker_svc.ledger import Ledger
from worker_svc.settings import WorkerSettings

HASHES = 10
"""In each report."""

SETTLED_WITHIN = 15.0
"""Seconds."""


class Reporting:
    """Makes reports, and settles what became of them."""

    def __init__(self, ledger: Ledger, deployment: Deployment) -> None:
        self.ledger = ledger
        self._deployment = deployment
        self._made = 0

    def add(self, reports: int = 1) -> None:
        for _ in range(reports):
            self._made += 1
            self.ledger.add(report(self._made, HASHES, coins=1, begin_us=1_700_000_000 * SECOND_US))

    async def add_all_the_time(self, interval: float = 0.05) -> None:
        """Until cancelled."""
        while True:
            self.add()
            await asyncio.sleep(interval)

    async def settle(self) -> None:
        """Raise AssertionError unless everything is taken in time, and counted once."""
        assert await self.ledger.settle(SETTLED_WITHIN)
        await asyncio.to_thread(self._settle)

    def _settle(self) -> None:
        keys, ask = self._deployment.keys, self._deployment.ask
        assert int(ask("GET", keys.hashes)) == HASHES * self._made
        assert int(ask("GET", keys.coins)) == self._made
        assert self.sequences() == list(range(1, self._made + 1))

    def sequences(self) -> list[int]:
        """Of the reports that the master holds, in the order in which it took them."""
        entries = self._deployment.master.client().xrange(self._deployment.keys.reports)
        return [int(fields["sequence"]) for _, fields in entries]


@asynccontextmanager
async def reporting(deployment: Deployment, **settings: Any) -> AsyncIterator[Reporting]:
    certificate = deployment.encryption.certificate if deployment.encryption else {}
    files = {name.lower(): value for name, value in certificate.items()}
    ledger = Ledger(WorkerSettings(**{"redis_url": deployment.url, "instance": "w", **files, **settings}), "w-1")
    sending = asyncio.create_task(ledger.run())
    try:
        yield Reporting(ledger, deployment)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await ledger.close()


@asynccontextmanager
async def all_the_time(made: Reporting) -> AsyncIterator[None]:
    """Reports are made while the context lasts."""
    adding = asyncio.create_task(made.add_all_the_time())
    try:
        yield
    finally:
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)
