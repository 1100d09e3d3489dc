"""Names in a pod: Kubernetes gives it three search domains, and its name server sends other names on to another one."""

import time
from collections.abc import Iterator
from functools import partial

import aiodns
import pytest
from support.dns_server import DnsServer, Mood, dns_server

from worker_svc.pool.resolver import Resolver

SEARCH_DOMAINS = ["coins.svc.cluster.local", "svc.cluster.local", "cluster.local"]
NDOTS = 5

# What a look-up of a name that exists may take. The best of a few counts, because the machine is busy with other tests.
LIMIT_S = 0.05
LOOK_UPS = 5


@pytest.fixture
def cluster_dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[DnsServer]:
    """A name server as a cluster's, and a process that looks names up as in a pod."""
    # Not resolvconf_path: pycares 5.2.1 lets go of the path before c-ares reads it, so /etc/resolv.conf may be read.
    monkeypatch.setattr(aiodns, "DNSResolver", partial(aiodns.DNSResolver, domains=SEARCH_DOMAINS, ndots=NDOTS))
    with dns_server("rng.coins.svc.cluster.local", "rng.other.svc.cluster.local") as server:
        server.zone = ".cluster.local"
        for addresses in server.addresses.values():
            addresses.append("10.0.0.1")
        yield server


@pytest.mark.parametrize("upstream", [Mood.SILENT, Mood.RIGHT, Mood.FAILING], ids=["silent", "NXDOMAIN", "SERVFAIL"])
@pytest.mark.parametrize(
    ("name", "queries"), [("rng", 2), ("rng.other", 4), ("rng.coins.svc.cluster.local", 8)], ids=str
)
async def test_a_name_that_exists_never_leaves_the_cluster(
    cluster_dns: DnsServer, name: str, queries: int, upstream: Mood
) -> None:
    """Each domain takes one query for each family, and the full name comes after the domains."""
    cluster_dns.upstream = upstream
    resolver = Resolver(cluster_dns.target(name, 50051))
    took = []
    for _ in range(LOOK_UPS):
        began = time.monotonic()
        assert await resolver.resolve() == ["ipv4:10.0.0.1:50051"]
        took.append(time.monotonic() - began)
    assert min(took) < LIMIT_S
    assert cluster_dns.forwarded == []
    assert cluster_dns.queries == LOOK_UPS * queries


async def test_a_name_that_does_not_exist_is_looked_up_outside_last(cluster_dns: DnsServer) -> None:
    resolver = Resolver(cluster_dns.target("rgn", 50051))
    assert await resolver.resolve() == []
    assert set(cluster_dns.forwarded) == {"rgn"}
    assert resolver.failure == "rgn: Domain name not found"
