import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from support.waiting import background, until
from worker_svc.ledger import Ledger
from worker_svc.report import Report
from worker_svc.settings import WorkerSettings

SECOND_US = 1_000_000
BEGIN_US = 1_700_000_005 * SECOND_US


def report(sequence: int, hashes: int = 10, coins: int = 0, begin_us: int = BEGIN_US, **changes: Any) -> Report:
    """Make a report about one second."""
    end_us = changes.pop("end_us", begin_us + SECOND_US)
    values: dict[str, Any] = {"batch_size": 1, "wallet": (), "stalled_since_us": 0, "waits_for": "", "seconds": 1.0}
    values |= {"replicas": {"rng": (), "hasher": ()}, "latest": ()}
    values |= {"end": end_us / 1e6 - time.time() + time.monotonic(), **changes}
    return Report(sequence=sequence, hashes=hashes, coins=coins, begin_us=begin_us, end_us=end_us, **values)


@asynccontextmanager
async def ledger(redis_url: str, worker_id: str = "w-1", **settings: Any) -> AsyncIterator[Ledger]:
    """Send reports while the context lasts."""
    made = Ledger(WorkerSettings(redis_url=redis_url, instance="w", **settings), worker_id)
    try:
        async with background(made.run()):
            yield made
    finally:
        await made.close()


async def send(redis_url: str, *reports: Report, worker_id: str = "w-1", **settings: Any) -> None:
    """Send these reports with a ledger of their own. Raises AssertionError when Redis does not take them."""
    async with ledger(redis_url, worker_id, **settings) as made:
        await taken(made, *reports)


async def taken(made: Ledger, *reports: Report) -> None:
    """Send these reports, too, and wait until all are taken."""
    for each in reports:
        made.add(each)
    assert await made.settle(20)


def causes(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why reports were not taken, as the log says it."""
    return [line["cause"] for line in lines if "cause" in line]


async def first_cause(redis_url: str, **settings: Any) -> str:
    """Return why a report is not taken."""
    with capture_logs() as lines:
        async with ledger(redis_url, **settings) as made:
            made.add(report(1))
            await until(lambda: causes(lines))
            assert not made.taking
    return causes(lines)[0]
