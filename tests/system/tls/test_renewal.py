"""Authorities that change while a server runs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from grpc_health.v1.health_pb2 import HealthCheckRequest
from support.certificates import Authority
from support.service_process import ServiceProcess, ServiceProcesses
from system.tls.clients import call, connected

RENEWAL_LIMIT = 60.0
"""Seconds from a file's being renewed to its use."""


async def welcome(server: ServiceProcess, settings: Mapping[str, str], authority: Authority) -> bool:
    async with connected(server, {**settings, "TLS_CA": str(authority.file)}, "rng") as channel:
        return isinstance(
            await call(channel, "/grpc.health.v1.Health/Check", HealthCheckRequest().SerializeToString()), bytes
        )


async def test_a_new_authority_is_trusted_beside_the_old_one_and_then_instead(
    processes: ServiceProcesses, authority: Authority, tmp_path: Path
) -> None:
    new = Authority(tmp_path / "new")
    old_worker, new_worker = authority.issue("worker"), new.issue("worker")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    server = processes.start("rng", **{**authority.issue("rng"), "TLS_CA": str(trusted)})
    assert await welcome(server, old_worker, authority)
    assert not await welcome(server, new_worker, authority)

    async with asyncio.timeout(RENEWAL_LIMIT):
        trusted.write_bytes(authority.file.read_bytes() + new.file.read_bytes())
        while not await welcome(server, new_worker, authority):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.2)
        assert await welcome(server, old_worker, authority)

        trusted.write_bytes(new.file.read_bytes())
        while await welcome(server, old_worker, authority):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.2)
        assert await welcome(server, new_worker, authority)
    assert server.stop() == 0
