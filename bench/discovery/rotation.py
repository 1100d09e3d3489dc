"""What one renewal of a pool's streams costs a worker, and whether it leaves the connections alone.

At the classic pace a worker does next to nothing else. One that renews its streams twice a second and one that keeps
them for ever run side by side on the same servers, and find them by DNS; what the first one's CPU time is more, by the
number of its renewals, is what one costs. Both pools are renewed, that to rng and that to hasher, and either counts.
"""

import contextlib
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import progress
from bench.bound import AtMost, Bound
from bench.discovery.fleet import ADDRESSES
from bench.dns_server import DnsServer, dns_server
from bench.processes import BenchError
from bench.spread import Spread
from bench.system import Servers, servers

OFTEN, NEVER = "often", "never"
GENERATIONS = {OFTEN: "0.5", NEVER: "3600"}
"""Seconds that streams live, by the worker's name. The shortest that is allowed makes most of what is looked for."""

STREAMS_A_BACKEND = 2
"""That a pool opens at each renewal."""

REPLICAS = (1, 3)
"""Of each service, at the same time in systems of their own."""

SLICES = 4
SLICE_SECONDS = 4.0
WARM_UP = 2.0
LOOK_SECONDS = 4.0
"""For which connections are looked at, after what is measured: looking takes time and warm caches from the workers."""

LOOK_EVERY = 0.1
"""Seconds."""

MOST_MILLISECONDS = 3.0
"""CPU a renewal, where each service has one replica, as it has by default."""


@dataclass
class Cost:
    """What was seen with so many replicas."""

    replicas: int
    milliseconds: list[float] = field(default_factory=list)
    """CPU of one renewal, a slice."""
    renewals: int = 0
    connections: list[int] = field(default_factory=list)
    """How many there were, a look."""
    sockets: set[int] = field(default_factory=set)
    """Local ports of all connections there ever were."""


class _Observed:
    """Two workers on the same servers."""

    def __init__(self, running: Servers, workers: dict[str, psutil.Process]) -> None:
        self._running = running
        self._workers = workers
        self.cost = Cost(len(running.hosts))
        self._before = (0.0, 0)

    def begin(self) -> None:
        """Measure from here."""
        self._before = self._sample()

    def _sample(self) -> tuple[float, int]:
        """CPU seconds more of the one that renews, and its renewals, so far."""
        spent = {name: sum(worker.cpu_times()[:2]) for name, worker in self._workers.items()}
        ended = sum(
            len(re.findall(rf"\bStream\w+ .*\bpeer={OFTEN}-", self._running.log(name).read_text()))
            for name in self._running.processes
        )
        return spent[OFTEN] - spent[NEVER], ended // (STREAMS_A_BACKEND * len(self._running.hosts))

    def look(self) -> None:
        """Count the connections of the worker that renews."""
        ports = self._running.ports.values()
        now = [each for each in self._workers[OFTEN].net_connections("tcp") if each.raddr and each.raddr.port in ports]
        self.cost.connections.append(len(now))
        self.cost.sockets.update(each.laddr.port for each in now)

    def end_slice(self) -> None:
        """Note what the time since the last slice cost."""
        cpu, renewals = now = self._sample()
        cpu_before, renewals_before = self._before
        if renewals == renewals_before:
            raise BenchError(f"no stream was renewed within {SLICE_SECONDS:.0f} s")
        self.cost.milliseconds.append((cpu - cpu_before) / (renewals - renewals_before) * 1e3)
        self.cost.renewals += renewals - renewals_before
        self._before = now


@contextlib.contextmanager
def _observed(dns: DnsServer, replicas: int, folder: Path) -> Iterator[_Observed]:
    # The servers say at this level which streams have ended, and whose they were.
    with contextlib.ExitStack() as stack:
        hosts = ADDRESSES[:replicas]
        running = stack.enter_context(servers(folder, {"PACE": "classic", "LOG_LEVEL": "info"}, hosts))
        targets = {"LOG_LEVEL": "warning"}
        for service, port in running.ports.items():
            name = _name(service, replicas)
            dns.addresses[name] += hosts
            targets[f"{service.upper()}_TARGET"] = dns.target(name, port)
        workers = {
            name: stack.enter_context(running.worker({"GENERATION": generation, **targets}, name))
            for name, generation in GENERATIONS.items()
        }
        yield _Observed(running, workers)


def _name(service: str, replicas: int) -> str:
    return f"{service}-{replicas}.test"


def measure(folder: Path) -> list[Cost]:
    """The cost by the number of replicas. Raises BenchError when a service does not do its work."""
    progress.show("cost of a renewal: starting")
    names = [_name(service, replicas) for replicas in REPLICAS for service in ("rng", "hasher")]
    with dns_server(*names) as dns, contextlib.ExitStack() as stack:
        observed = [stack.enter_context(_observed(dns, replicas, folder)) for replicas in REPLICAS]
        time.sleep(WARM_UP)
        for each in observed:
            each.begin()
        for number in range(SLICES):
            progress.show(f"cost of a renewal: {number + 1} of {SLICES}")
            time.sleep(SLICE_SECONDS)
            for each in observed:
                each.end_slice()
        progress.show("cost of a renewal: connections")
        end = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < end:
            for each in observed:
                each.look()
            time.sleep(LOOK_EVERY)
    progress.show("")
    return [each.cost for each in observed]


def lines(costs: list[Cost]) -> Iterator[str]:
    """The table."""
    yield "CPU of a worker, milliseconds for one renewal of one pool's streams; and its connections to rng and hasher"
    heads = f"{'replicas of each':>16} {'renewals':>9} {'mean ms':>8} {'least':>6} {'most':>6}"
    yield f"{heads} {'connections':>12} {'ever':>5}"
    for cost in costs:
        mean, least, most = statistics.mean(cost.milliseconds), min(cost.milliseconds), max(cost.milliseconds)
        connections = " to ".join(str(count) for count in sorted({min(cost.connections), max(cost.connections)}))
        yield (
            f"{cost.replicas:>16} {cost.renewals:>9} {mean:>8.2f} {least:>6.2f} {most:>6.2f} {connections:>12} "
            f"{len(cost.sockets):>5}"
        )


def bounds(costs: list[Cost]) -> list[Bound]:
    """What a renewal is held to: the time with one replica, no connection that was not there before with any."""
    one = costs[0].milliseconds
    noise = Spread(one).noise
    return [
        AtMost(f"CPU a renewal, {REPLICAS[0]} replica, ms", statistics.mean(one), MOST_MILLISECONDS, noise),
        *(AtMost(f"connections ever, {cost.replicas} of each", len(cost.sockets), 2 * cost.replicas) for cost in costs),
    ]
