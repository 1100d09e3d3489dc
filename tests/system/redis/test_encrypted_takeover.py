"""Servers that speak TLS alone, to one another and to us, and are known by name."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from support.certificates import Authority
from support.ledgers import first_cause
from support.redis_deployment import Cluster, Deployment, SentinelSet, deployed
from support.redis_server import TLS_HOST
from system.redis.takeover import reporting, settings


@pytest.fixture(scope="module", params=[SentinelSet, Cluster])
def started(request: Any, redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    certificate = Authority(tmp_path_factory.mktemp("certificates")).issue("redis", TLS_HOST)
    made = request.param(tmp_path_factory.mktemp("servers"), certificate, redis_program)
    with deployed(made):
        yield made


async def test_servers_of_another_authority_are_not_used(deployment: Deployment, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").issue("worker")
    files = {name.lower(): value for name, value in other.items()}
    assert "TLS_CA" in await first_cause(**{**settings(deployment), **files})
    assert deployment.ask("GET", deployment.keys.hashes) is None


async def test_reports_go_on_when_a_replica_takes_over_from_a_killed_master(deployment: Deployment) -> None:
    async with reporting(deployment) as made:
        async with made.all_the_time():
            old = deployment.master
            old.stop(SIGKILL)
            await asyncio.to_thread(deployment.wait_for_takeover, old)
        await made.settle()
