"""What it costs at full pace, and at the batch size that is fastest without it, that every stream is encrypted."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import trustme

from bench import progress
from bench.side_by_side import Pairs
from bench.system import LOOPBACK, Servers, servers
from bench.turn import take_turn

SETTINGS = {"PACE": "full", "BATCH_SIZE": "65536", "WINDOW_SIZE": "8"}

LEAST_OF_PLAIN = 0.8
"""The speed without it."""


def measure(pairs: int, seconds: float, folder: Path) -> Pairs:
    """Pairs of turns, encrypted and not, each with the machine to itself: side by side, who needs more is given more.

    Raises BenchError when a service does not do its work.
    """
    turns = []
    with _encrypted(folder, _certificates(folder)) as encrypted, servers(folder, SETTINGS) as plain:
        for number in range(pairs):
            progress.show(f"speed with and without TLS: pair {number + 1} of {pairs}")
            # Who is first takes turns.
            kinds = (encrypted, plain) if number % 2 else (plain, encrypted)
            taken = [take_turn(kind, settings={}, seconds=seconds) for kind in kinds]
            turns.append((taken[kinds.index(encrypted)], taken[kinds.index(plain)]))
    progress.show("")
    return Pairs("TLS", turns)


def _certificates(folder: Path) -> Mapping[str, str]:
    """One for all services, as settings."""
    authority = trustme.CA()
    issued = authority.issue_cert("worker", *LOOPBACK)
    files = {"TLS_CERT": issued.cert_chain_pems[0], "TLS_KEY": issued.private_key_pem, "TLS_CA": authority.cert_pem}
    for name, content in files.items():
        content.write_to_path(folder / f"{name}.pem")
    return {name: str(folder / f"{name}.pem") for name in files}


@contextlib.contextmanager
def _encrypted(folder: Path, certificates: Mapping[str, str]) -> Iterator[Servers]:
    with servers(folder, {**SETTINGS, **certificates}) as running:
        # A worker takes only targets with a name to check the certificate for; an address is its own name.
        running.by_name = lambda _, port: f"dns:///{LOOPBACK[0]}:{port}"
        yield running
