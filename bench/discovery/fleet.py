"""Three replicas of one rng as real processes, found by name through a name server of ours."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.dns_server import DnsServer
from bench.processes import free_port, process, wait_until_listening
from bench.witness import Evidence

ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")


class Fleet:
    """Replicas on several addresses with one port. They all listen; who asks for the name learns of some."""

    def __init__(self, dns: DnsServer, name: str, port: int, evidence: Evidence) -> None:
        self._addresses = dns.addresses[name]
        self.port = port
        self.target = dns.target(name, port)
        self.evidence = evidence

    def appear(self, *addresses: str) -> list[str]:
        """Have the name lead to these, too; their instances."""
        self._addresses += addresses
        return [instance(address) for address in addresses]


def instance(address: str) -> str:
    """What the replica at an address calls itself."""
    return f"rng-{address}"


@contextlib.contextmanager
def fleets(dns: DnsServer, folder: Path, settings: dict[str, dict[str, str]]) -> Iterator[list[Fleet]]:
    """A fleet for each name, with those settings; they all listen, and no name leads to any.

    Raises BenchError when one does not come up or an address is none of this machine's.
    """
    with contextlib.ExitStack() as stack:
        started = []
        servers = []
        for name, environment in settings.items():
            place = folder / name
            place.mkdir()
            evidence = Evidence(place / "witness")
            stack.callback(evidence.close)
            port = free_port(*ADDRESSES)
            started.append(Fleet(dns, name, port, evidence))
            for address in ADDRESSES:
                command = [sys.executable, "-m", "bench.discovery.server"]
                own = {"INSTANCE": instance(address), "BIND_ADDRESS": address, "PORT": str(port), "PACE": "full"}
                own["WITNESS"] = str(evidence.path)
                server = stack.enter_context(process(command, {**own, **environment}, place / f"{address}.log"))
                servers.append((server, address, port, place))
        for server, address, port, place in servers:
            wait_until_listening(server, address, port, place)
        yield started
