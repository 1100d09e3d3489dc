"""A whole system at work: its speed, its CPU by service, and the cores that others left it."""

import contextlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

from bench.processes import START_LIMIT, BenchError, log_tails, process
from bench.scaling.model import SERVICES, System
from bench.system import Servers

Pins = Mapping[str, int]
"""The core that a service's processes are kept on, by service; those of the others run on any."""

INTERVAL = 0.5
"""Seconds between reports."""

SETTLING_TIME = 1.5
"""Seconds from when all workers have reported."""


@dataclass(frozen=True)
class Mined:
    """What a system did in a time."""

    speed: float
    """Hashes a second: of each worker over the time that its reports took, added up."""
    cpu: Mapping[str, float]
    """Cores in use, by service."""
    left: Mapping[int, float]
    """Part of each core that others left to the system; of all cores the mean, unless it is pinned."""

    def cpu_a_batch(self, service: str, batch_size: int) -> float:
        """Seconds."""
        return self.cpu[service] / self.speed * batch_size


@contextlib.contextmanager
def workers(running: Servers, system: System, settings: Mapping[str, str]) -> Iterator[dict[str, list[psutil.Process]]]:
    """All processes by service, once each of the workers has reported. Raises BenchError when one does not."""
    hosts = {service: running.hosts[: system.replicas(service)] for service in ("rng", "hasher")}
    environment = {
        **running.settings,
        "REDIS_URL": running.redis_url,
        "REPORT_INTERVAL": f"{INTERVAL}",
        "BATCH_SIZE": f"{system.batch_size}",
        "WINDOW_SIZE": f"{system.window}",
        "DELAY": f"{system.pace.worker_delay}",
        **{
            f"{service.upper()}_TARGET": "ipv4:"
            + ",".join(f"{host}:{running.ports[service]}" for host in hosts[service])
            for service in hosts
        },
        **settings,
    }
    names = [f"worker-{time.monotonic_ns()}-{number}" for number in range(system.replicas("worker"))]
    with contextlib.ExitStack() as stack:
        last = running.last_report()
        started = [
            stack.enter_context(
                process(running.command("worker"), {**environment, "INSTANCE": name}, running.log(name))
            )
            for name in names
        ]
        silent, deadline = set(names), time.monotonic() + START_LIMIT
        while silent:
            last, report = running.next_report(last)
            silent.discard(report["instance"])
            if time.monotonic() > deadline:
                raise BenchError(f"{sorted(silent)} did not report: {log_tails(running.folder)}")
        yield {
            "worker": [psutil.Process(each.pid) for each in started],
            **{
                service: [
                    running.processes[f"{service}-{host}" if number else service]
                    for number, host in enumerate(hosts[service])
                ]
                for service in hosts
            },
        }


def mine(
    running: Servers, system: System, seconds: float, settings: Mapping[str, str], pins: Pins | None = None
) -> Mined:
    """Have it mine for so long. Raises BenchError when it does not."""
    with workers(running, system, settings) as processes, _pinned(processes, pins or {}):
        time.sleep(SETTLING_TIME)
        begin, clock = time.time() * 1e6, time.monotonic()
        before, machine = _cpu(processes), _busy()
        time.sleep(seconds)
        elapsed = time.monotonic() - clock
        cpu = {service: (spent - before[service]) / elapsed for service, spent in _cpu(processes).items()}
        busy = {core: (spent - machine[core]) / elapsed for core, spent in _busy().items()}
        end = time.time() * 1e6
        time.sleep(INTERVAL * 1.5)  # until the reports that end in that time are there
        return Mined(_speed(running, begin, end), cpu, _left(busy, cpu, pins or {}))


@contextlib.contextmanager
def _pinned(processes: Mapping[str, list[psutil.Process]], pins: Pins) -> Iterator[None]:
    try:
        for service, core in pins.items():
            _pin(processes[service], {core})
        yield
    finally:
        for service in pins:
            _pin(processes[service], set(range(os.cpu_count() or 1)))


def _pin(processes: list[psutil.Process], cores: set[int]) -> None:
    if sys.platform == "linux":
        for each in processes:
            for thread in each.threads():  # a process's affinity is its first thread's alone
                os.sched_setaffinity(thread.id, cores)


def _cpu(processes: Mapping[str, list[psutil.Process]]) -> dict[str, float]:
    return {
        service: sum(times.user + times.system for times in (each.cpu_times() for each in processes[service]))
        for service in SERVICES
    }


def _busy() -> dict[int, float]:
    """Seconds that each core was busy, ever."""
    return {
        core: sum(times) - times.idle - getattr(times, "iowait", 0.0)
        for core, times in enumerate(psutil.cpu_times(percpu=True))
    }


def _left(busy: Mapping[int, float], cpu: Mapping[str, float], pins: Pins) -> dict[int, float]:
    if not pins:
        others = (sum(busy.values()) - sum(cpu.values())) / len(busy)
        return dict.fromkeys(busy, min(1.0, 1 - others))
    own: dict[int, float] = defaultdict(float)
    for service, core in pins.items():
        own[core] += cpu[service]
    return {core: min(1.0, 1 - busy[core] + own[core]) for core in busy}


def _speed(running: Servers, begin: float, end: float) -> float:
    """Of the reports whose interval begins and ends then, in microseconds."""
    hashes: dict[str, int] = defaultdict(int)
    taken: dict[str, int] = defaultdict(int)
    for _, report in running.redis.xrange("reports", min=f"{int(begin / 1e3) - 1}"):
        first, last = int(report["begin_us"]), int(report["end_us"])
        if begin <= first < last <= end:
            hashes[report["worker"]] += int(report["hashes"])
            taken[report["worker"]] += last - first
    if not hashes:
        raise BenchError(f"nothing was reported in {(end - begin) / 1e6:.1f} s: {log_tails(running.folder)}")
    return sum(hashes[worker] / taken[worker] * 1e6 for worker in hashes)
