"""The last report; Redis is the test's, time is virtual."""

from unittest.mock import AsyncMock

import pytest

from chassis.health import Health
from chassis.telemetry import Telemetry
from worker_svc.settings import WorkerSettings
from worker_svc.worker import Worker


@pytest.mark.parametrize("unavailable", [False, True])
async def test_a_worker_without_work_reports_that_it_leaves_unless_redis_is_unavailable(*, unavailable: bool) -> None:
    """A report in flight says nothing about Redis."""
    worker = Worker(WorkerSettings(instance="w", redis_url="redis://127.0.0.1:1"), Telemetry(Health()))
    ledger = worker.ledger
    ledger._connected, ledger.unavailable = True, unavailable
    ledger.flush = AsyncMock(return_value=True)  # type: ignore[method-assign]
    worker._report()
    assert not ledger.flushed
    await worker.drain()
    assert await worker.report_last()
    assert [entry.leaving for entry, _ in ledger._entries] == [False] + [True] * (not unavailable)
