"""A worker and a name with many addresses: how long the answer takes, and what so many backends cost.

The name server is the tests' own, over UDP and, for what is too large for that, TCP. The addresses are of 127/8, and
one process answers at all of them (`crowd_server`), so this needs a system on which all of 127/8 is its own: Linux.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import psutil

from bench import progress
from bench.bound import AtMost, Bound
from bench.dns_server import DnsServer, dns_server
from bench.page.served import store
from bench.processes import BenchError, free_port, log_tails, process, wait_until_listening
from bench.scaling.channel import Opened
from bench.system import Servers

ADDRESSES = (1, 10, 100, 1_000)

STREAMS = 64
"""The worker's default."""

CHANNEL_LIMIT = 120.0
SETTLING_TIME = 4.0
"""Seconds: two generations."""

MOST_READY = 1.0
"""Seconds that a worker gives a new channel (`READY_LIMIT`) before it keeps the old generation."""


@dataclass(frozen=True)
class Known:
    """What so many addresses cost."""

    addresses: int
    answer_bytes: int
    answer_seconds: float
    """That the name server itself takes, over TCP where the answer is too large for UDP."""
    queries_a_renewal: float
    channel: Opened
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
    queries = dns.queries
    channel = _channel(dns.target(name, running.ports["rng"]), count, running.folder)
    queries = dns.queries - queries
    running.by_name = lambda _, port: dns.target(name, port)
    began = time.monotonic()
    with running.worker({"GENERATION": "1.8"}, f"worker-{count}") as worker:
        first_report = time.monotonic() - began
        time.sleep(SETTLING_TIME)
        cpu, clock = _cpu(worker), time.monotonic()
        time.sleep(seconds)
        cores = (_cpu(worker) - cpu) / (time.monotonic() - clock)
        return Known(
            count,
            size,
            took,
            queries / 11,  # ten renewals and the first channel
            channel,
            first_report,
            cores,
            worker.num_fds(),
            worker.memory_info().rss / 1e6,
        )


def _asked(dns: DnsServer, name: str) -> tuple[int, float]:
    port = int(dns.server_address[1])
    took = []
    for _ in range(5):
        began = time.monotonic()
        answer, _ = dns_query(name, port)
        took.append(time.monotonic() - began)
    return len(answer.to_wire()), sorted(took)[2]


def dns_query(name: str, port: int) -> tuple[dns.message.Message, bool]:
    """The answer of a name server on this machine, and whether it took TCP."""
    query = dns.message.make_query(name, "A")
    return dns.query.udp_with_fallback(query, "127.0.0.1", port=port, timeout=10)


def _channel(target: str, count: int, folder: Path) -> Opened:
    command = [sys.executable, "-m", "bench.scaling.channel", target, str(count)]
    ended = subprocess.run(  # noqa: S603 - our own module
        command, capture_output=True, text=True, timeout=CHANNEL_LIMIT, check=False
    )
    if ended.returncode:
        raise BenchError(f"no channel to {target}: {ended.stderr[-300:]!r}; {log_tails(folder)}")
    return Opened(**json.loads(ended.stdout))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def lines(found: Sequence[Known]) -> Iterator[str]:
    """The tables."""
    yield "A name with many addresses, and one channel to all of them; ms, and CPU ms of the client"
    yield (
        f"{'addresses':>9} {'answer, bytes':>13} {'the server takes':>16} {'queries':>8} {'first ready':>11} "
        f"{'all connected':>13} {'CPU':>7} {'renewed in':>10} {'CPU':>6}"
    )
    for each in found:
        channel = each.channel
        yield (
            f"{each.addresses:>9,} {each.answer_bytes:>13,} {each.answer_seconds * 1e3:>16.1f} "
            f"{each.queries_a_renewal:>8.1f} {channel.ready * 1e3:>11.0f} {channel.connected * 1e3:>13.0f} "
            f"{channel.cpu * 1e3:>7.0f} {channel.renewal * 1e3:>10.1f} {channel.renewal_cpu * 1e3:>6.1f}"
        )
    yield ""
    yield f"A worker at the classic pace that finds as many rngs and as many hashers, {STREAMS} streams to each at most"
    yield f"{'replicas of each':>16} {'first report, s':>15} {'cores':>6} {'descriptors':>11} {'MB':>5}"
    for each in found:
        yield (
            f"{each.addresses:>16,} {each.first_report:>15.1f} {each.cores:>6.3f} {each.descriptors:>11,} "
            f"{each.megabytes:>5.0f}"
        )


def bounds(found: Sequence[Known]) -> list[Bound]:
    """That renewals are in time, at any size."""
    return [
        AtMost(f"a channel to {each.addresses:,} addresses renewed in, s", each.channel.renewal, MOST_READY)
        for each in found
    ]
