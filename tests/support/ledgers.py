import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from chassis.redis.schema import Coin, NewCoins, ReplicaSnapshot, ReplicaStats
from support.reports import make_report
from support.waiting import background, until
from worker_svc.ledger import Ledger
from worker_svc.settings import WorkerSettings
from worker_svc.tally import Entry

SECOND_US = 1_000_000
BEGIN_US = 1_700_000_005 * SECOND_US


def report(
    sequence: int,
    hashes: int = 10,
    coins: int = 0,
    begin_us: int = BEGIN_US,
    end_us: int | None = None,
    *,
    worker: str = "w-1",
    wallet: Sequence[tuple[str, bytes]] = (),
    seconds: float = 1.0,
    rng: Sequence[ReplicaStats] = (),
    latest: Sequence[Coin] = (),
) -> Entry:
    """Make a report about one second."""
    end_us = begin_us + SECOND_US if end_us is None else end_us
    made = make_report(
        begin_us / 1e6, end_us / 1e6, hashes, worker, instance="w", sequence=sequence, coins=coins, redis_us=0
    )
    end = end_us / 1e6 - time.time() + time.monotonic()
    return Entry(made, ReplicaSnapshot(seconds, rng, ()), NewCoins(4, latest), wallet, end)


@asynccontextmanager
async def ledger(redis_url: str, worker_id: str = "w-1", **settings: Any) -> AsyncIterator[Ledger]:
    """Send reports while the context lasts."""
    made = Ledger(WorkerSettings(redis_url=redis_url, instance="w", **settings), worker_id)
    try:
        async with background(made.run()):
            yield made
    finally:
        await made.close()


async def send(redis_url: str, *reports: Entry, worker_id: str = "w-1", **settings: Any) -> None:
    """Send these reports with a ledger of their own. Raises AssertionError when Redis does not take them."""
    async with ledger(redis_url, worker_id, **settings) as made:
        await taken(made, *reports)


async def taken(made: Ledger, *reports: Entry) -> None:
    """Send these reports, too, and wait until all are taken."""
    for each in reports:
        made.add(each)
    assert await made.flush(20)


def causes(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why reports were not taken, as the log says it."""
    return [line["cause"] for line in lines if "cause" in line]


async def first_cause(redis_url: str, **settings: Any) -> str:
    """Return why a report is not taken."""
    with capture_logs() as lines:
        async with ledger(redis_url, **settings) as made:
            made.add(report(1))
            await until(lambda: causes(lines))
            assert not made.accepting
    return causes(lines)[0]
