"""Servers that speak TLS alone, to one another and to us, and are known by name."""

import asyncio
from pathlib import Path
from signal import SIGKILL

import pytest
from structlog.testing import capture_logs
from support.certificates import Authority
from support.redis_deployment import Deployment
from system.redis_takeover.reporting import all_the_time, reporting

# Failing over is a matter of silence, which a busy machine keeps, too.
pytestmark = pytest.mark.pair


async def test_what_is_reported_while_a_replica_takes_over_from_a_killed_master(encrypted: Deployment) -> None:
    async with reporting(encrypted) as made:
        async with all_the_time(made):
            await asyncio.sleep(0.5)
            old = encrypted.master
            old.stop(SIGKILL)
            await asyncio.to_thread(encrypted.until_taken_over, old)
            await asyncio.sleep(0.5)
        await made.settle()


async def test_servers_of_another_authority_are_told_nothing(encrypted: Deployment, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").issue("worker")
    with capture_logs() as lines:
        async with reporting(encrypted, **{name.lower(): value for name, value in other.items()}) as made:
            made.add()
            assert not await made.ledger.settle(2)
    assert any("TLS_CA" in line["cause"] for line in lines if "cause" in line), lines
    assert encrypted.ask("GET", encrypted.keys.hashes) is None
