"""A worker and a name with many addresses: how long the answer takes, and what so many backends cost.

The name server is that of the tests (`tests/support`), over UDP and, for what is too large for that, TCP. The addresses
are of 127/8, and one process answers at all of them (`crowd_server`), so this needs a system on which all of 127/8 is
its own: Linux.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import psutil
from support.dns_server import DnsServer, dns_server

from bench import progress
from bench.page.served import store
from bench.processes import BenchError, free_port, process, wait_until_listening
from bench.system import Servers

ADDRESSES = (1, 10, 100, 1_000)

MAX_ENDPOINTS = 64
"""The worker's default."""

SETTLING_TIME = 4.0


@dataclass(frozen=True)
class Known:
    """What so many addresses cost."""

    addresses: int
    answer_bytes: int
    answer_seconds: float
    """That the name server itself takes, over TCP where the answer is too large for UDP."""
    queries_per_second: float
    """Of the worker."""
    first_report: float
    """Seconds from a worker's start to its first report."""
    cores: float
    """Of the worker, at the classic pace, with as many rngs and as many hashers."""
    descriptors: int
    megabytes: float


def addresses(count: int) -> list[str]:
    """So many of 127/8, from 127.1.0.1 on."""
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


def measure(counts: Sequence[int], seconds: float, folder: Path) -> list[Known]:
    """One after the other. Raises BenchError when something does not come up."""
    if sys.platform != "linux":
        raise BenchError("names: only Linux has all addresses of 127/8")
    rng, hasher = free_port("0.0.0.0"), free_port("0.0.0.0")  # noqa: S104 - of 127/8, and of no use to others
    crowd = [sys.executable, "-m", "bench.scaling.crowd_server", str(rng), str(hasher)]
    with ExitStack() as stack:
        url, client = stack.enter_context(store(folder))
        started = stack.enter_context(process(crowd, {}, folder / "crowd.log"))
        wait_until_listening(started, "127.0.0.1", hasher, folder)
        dns = stack.enter_context(dns_server(*(f"many-{count}.test" for count in counts)))
        settings = {"PACE": "classic", "METRICS_PORT": "0", "LOG_LEVEL": "warning"}
        running = Servers(folder, (), settings, client, url, {"rng": rng, "hasher": hasher})
        found = []
        for count in counts:
            progress.show(f"names: {count} addresses")
            dns.addresses[f"many-{count}.test"] = addresses(count)
            found.append(_known(count, seconds, dns, running))
    progress.show("")
    return found


def _known(count: int, seconds: float, dns: DnsServer, running: Servers) -> Known:
    name = f"many-{count}.test"
    size, took = _asked(dns, name)
    running.by_name = lambda _, port: dns.target(name, port)
    began = time.monotonic()
    with running.worker({}, f"worker-{count}") as worker:
        first_report = time.monotonic() - began
        time.sleep(SETTLING_TIME)
        cpu, queries, clock = _cpu(worker), dns.queries, time.monotonic()
        time.sleep(seconds)
        cores = (_cpu(worker) - cpu) / (time.monotonic() - clock)
        return Known(
            count,
            size,
            took,
            (dns.queries - queries) / (time.monotonic() - clock),
            first_report,
            cores,
            worker.num_fds(),
            worker.memory_info().rss / 1e6,
        )


def _asked(dns: DnsServer, name: str) -> tuple[int, float]:
    took = []
    for _ in range(5):
        began = time.monotonic()
        answer, _ = dns_query(name, dns.port)
        took.append(time.monotonic() - began)
    return len(answer.to_wire()), sorted(took)[2]


def dns_query(name: str, port: int) -> tuple[dns.message.Message, bool]:
    """The answer of a name server on this machine, and whether it took TCP."""
    query = dns.message.make_query(name, "A")
    return dns.query.udp_with_fallback(query, "127.0.0.1", port=port, timeout=10)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def lines(found: Sequence[Known]) -> Iterator[str]:
    """The table."""
    yield (
        f"A worker at the classic pace that finds as many rngs and as many hashers, {MAX_ENDPOINTS} endpoints of each "
        f"at most; the answer's"
    )
    yield "bytes, and the milliseconds that the name server takes"
    yield (
        f"{'replicas of each':>16} {'answer, bytes':>13} {'ms':>6} {'queries/s':>9} {'first report, s':>15} "
        f"{'cores':>6} {'descriptors':>11} {'MB':>5}"
    )
    for each in found:
        yield (
            f"{each.addresses:>16,} {each.answer_bytes:>13,} {each.answer_seconds * 1e3:>6.1f} "
            f"{each.queries_per_second:>9.1f} {each.first_report:>15.1f} {each.cores:>6.3f} {each.descriptors:>11,} "
            f"{each.megabytes:>5.0f}"
        )
