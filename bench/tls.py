"""What it costs at full pace, and at the batch size that is fastest without it, that every stream is encrypted."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import trustme

from bench.dns_server import dns_server
from bench.side_by_side import Comparison, Pairs
from bench.system import LOOPBACK, Servers, servers

SETTINGS = {"PACE": "full", "BATCH_SIZE": "65536", "WINDOW": "8"}

LEAST_OF_PLAIN = 0.8
"""The speed without it."""


def measure(pairs: int, seconds: float, folder: Path) -> Pairs:
    """Pairs of turns, encrypted and not. Raises BenchError when a service does not do its work."""
    encrypted = partial(_encrypted, certificates=_certificates(folder))
    return Comparison("TLS", encrypted, partial(servers, settings=SETTINGS)).measure(pairs, seconds, folder)


def _certificates(folder: Path) -> Mapping[str, str]:
    """One for all services, as settings."""
    authority = trustme.CA()
    issued = authority.issue_cert("worker", "rng.test", "hasher.test")
    files = {"TLS_CERT": issued.cert_chain_pems[0], "TLS_KEY": issued.private_key_pem, "TLS_CA": authority.cert_pem}
    for name, content in files.items():
        content.write_to_path(folder / f"{name}.pem")
    return {name: str(folder / f"{name}.pem") for name in files}


@contextlib.contextmanager
def _encrypted(folder: Path, certificates: Mapping[str, str]) -> Iterator[Servers]:
    with dns_server("rng.test", "hasher.test") as dns, servers(folder, {**SETTINGS, **certificates}) as running:
        for addresses in dns.addresses.values():
            addresses.extend(LOOPBACK)
        running.by_name = lambda service, port: dns.target(f"{service}.test", port)
        yield running
