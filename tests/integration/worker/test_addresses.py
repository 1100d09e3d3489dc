from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.dns_server import dns_server
from support.free_port import free_port
from support.rng_servers import PoolClient, rng_server
from support.waiting import until

from chassis.settings import CertificateFiles
from chassis.tls import RenewedCertificates
from worker_svc.pool import pool as pool_module
from worker_svc.pool.resolver import Resolver


@pytest.fixture(autouse=True)
def _look_ups_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "LOOKUP_INTERVAL_S", 0.05)


async def test_an_address_that_a_name_server_repeats_counts_once() -> None:
    with dns_server("rng.test") as server:
        server.addresses["rng.test"] = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
        found = await Resolver(server.target("rng.test", 50051)).resolve()
    assert sorted(found) == ["ipv4:127.0.0.1:50051", "ipv4:127.0.0.2:50051"]


async def test_what_a_part_of_an_answer_leaves_out_is_kept_while_it_serves(capfd: pytest.CaptureFixture[str]) -> None:
    ports = [free_port(), free_port()]
    async with rng_server("a", ports[0]), rng_server("b", ports[1]), PoolClient(*ports).running() as client:
        await client.until_found("a", "b")
        resolver = client.pool._resolver
        resolver._addresses, resolver.failure = resolver._addresses[:1], "too long for UDP, and TCP does not work"
        await until(lambda: "too long for UDP, and TCP does not work" in capfd.readouterr().out)
        await client.until_completed(100)
        assert client.pool.replicas == ["a", "b"]
        resolver.failure = ""
        await client.until_found("a")
        await client.finish()


async def test_renewed_certificates_are_used_though_one_address_never_serves_and_look_ups_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    server: dict[str, Any] = {name.lower(): file for name, file in authority.issue("rng", "127.0.0.1").items()}
    certificates = RenewedCertificates(CertificateFiles(*map(Path, authority.issue("worker").values())))
    ports = [free_port(), free_port(), free_port()]

    async def fail() -> list[str]:
        return []

    async with (
        rng_server("a", ports[0], **server),
        rng_server("b", ports[1], **server),
        PoolClient(*ports, certificates=certificates).running() as client,
    ):
        await client.until_found("a", "b")
        monkeypatch.setattr(client.pool._resolver, "resolve", fail)
        authority.issue("worker")
        endpoints = client.pool._endpoints
        before = set(endpoints.values())
        await until(lambda: not before & set(endpoints.values()))
        assert all(each.certificates is certificates.latest for each in endpoints.values())
        await client.until_found("a", "b")
        await client.finish()
        assert not client.pool.resent
