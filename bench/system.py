"""The real system, one process per service, and runs of workers on it."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis
from support.free_port import free_port
from support.redis_server import redis_server

from bench.processes import (
    START_LIMIT_S,
    BenchError,
    cpu_seconds,
    log_tails,
    process,
    wait_until_listening,
)
from bench.tree import Tree

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Run:
    """What was mined in a time, and the CPU seconds that it took, by process."""

    hashes: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def speed(self) -> float:
        """Hashes per second."""
        return self.hashes / self.seconds

    @property
    def cpu_per_hash_ns(self) -> float:
        """CPU time per hash of all processes."""
        return sum(self.cpu.values()) / self.hashes * 1e9


@dataclass
class Servers:
    """Replicas of rng and hasher of one tree, and their Redis.

    All replicas of a service listen on one port, each on a host of its own. The processes are named as their services,
    further replicas with their host.
    """

    tree: Tree
    folder: Path
    hosts: tuple[str, ...]
    settings: Mapping[str, str]
    # redis-py's types admit every kind of client at once.
    redis: Any
    redis_url: str
    redis_process: psutil.Process
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, psutil.Process] = field(default_factory=dict)

    def start(
        self, service: str, name: str, settings: Mapping[str, str]
    ) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
        """Run a service for the duration of a context, with these settings beside the common ones."""
        environment = self.tree.named({**self.settings, "INSTANCE": name, **settings})
        command = [self.tree.python, "-m", f"{service}_svc"]
        return process(command, environment, self.folder / f"{name}.log", self.tree.root)

    @property
    def targets(self) -> dict[str, str]:
        """The workers' settings for finding the services."""
        return {f"{service.upper()}_TARGET": self._target(port) for service, port in self.ports.items()}

    def _target(self, port: int) -> str:
        if "TLS_CERT" in self.settings:  # takes a name, which the certificate is checked for; an address is its own
            return f"dns:///{self.hosts[0]}:{port}"
        return "ipv4:" + ",".join(f"{host}:{port}" for host in self.hosts)

    @contextlib.contextmanager
    def worker(self, settings: Mapping[str, str]) -> Iterator[psutil.Process]:
        """Run a worker, from its first report on. Raises BenchError if it sends none."""
        last = self.last_report()
        with self.start("worker", "worker", {**self.targets, "REDIS_URL": self.redis_url, **settings}) as started:
            self.next_report(last)
            yield psutil.Process(started.pid)

    def mine(self, settings: Mapping[str, str], seconds: float, report_interval_s: float = 1.0) -> Run:
        """Start a worker, let it mine for some seconds, and measure from report to report once it is warm.

        Raises BenchError if it sends no reports.
        """
        with self.worker({"REPORT_INTERVAL": f"{report_interval_s}", **settings}) as worker:
            # The worker has sent its first report, and measuring begins with the second.
            return self.measure({**self.processes, "worker": worker}, seconds - report_interval_s / 2)

    def measure(self, processes: Mapping[str, psutil.Process], seconds: float) -> Run:
        """Measure from the next report to the first one after these seconds. Raises BenchError if none comes.

        A report is sent as soon as its last batch is counted.
        """
        last, _ = self.next_report(self.last_report())
        hashes, began, before = self._hashes, time.monotonic(), _cpu(processes)
        while time.monotonic() < began + seconds:
            last, _ = self.next_report(last)
        after, ended = _cpu(processes), time.monotonic()
        cpu = {name: seconds - before[name] for name, seconds in after.items()}
        return Run(self._hashes - hashes, ended - began, cpu)

    @property
    def _hashes(self) -> int:
        return int(self.redis.get("hashes") or 0)

    def last_report(self) -> str:
        """Return the id of the newest report; before the first one, an id that is less than all."""
        newest: list[tuple[str, dict[str, str]]] = self.redis.xrevrange("reports", count=1)
        return newest[0][0] if newest else "0"

    def next_report(self, last: str) -> tuple[str, dict[str, str]]:
        """Wait for the report after the one with this id; return its id and fields. Raises BenchError if none comes."""
        answer = self.redis.xread({"reports": last}, count=1, block=round(START_LIMIT_S * 1e3))
        if not answer:
            raise BenchError(f"nothing was mined within {START_LIMIT_S:.0f} s: {log_tails(self.folder)}")
        report: tuple[str, dict[str, str]] = answer[0][1][0]
        return report


def _cpu(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    return {name: cpu_seconds(process.pid) for name, process in processes.items()}


@contextlib.contextmanager
def servers(
    folder: Path, settings: Mapping[str, str], hosts: tuple[str, ...] = (HOST,), tree: Tree | None = None
) -> Iterator[Servers]:
    """Run servers with these settings, which workers share. Raises BenchError if one does not listen.

    They are those of a tree, by default of this one.
    """
    environment = {"METRICS_PORT": "0", "LOG_LEVEL": "warning", **settings}
    data = folder / f"system-{len(list(folder.iterdir()))}"
    # As `make run` has it.
    with redis_server(data, "--appendfsync", "always") as server, contextlib.ExitStack() as stack:
        # Reports are awaited for longer than the client of the tests waits.
        client = stack.enter_context(redis.Redis(port=server.port, decode_responses=True))
        redis_process = psutil.Process(server.pid)
        running = Servers(tree or Tree.this(), data, hosts, environment, client, server.url, redis_process)
        awaited = []
        for service in ("rng", "hasher"):
            running.ports[service] = port = free_port()
            for number, host in enumerate(hosts):
                name = f"{service}-{host}" if number else service
                started = stack.enter_context(running.start(service, name, {"BIND_ADDRESS": host, "PORT": f"{port}"}))
                running.processes[name] = psutil.Process(started.pid)
                awaited.append((started, host, port))
        for started, host, port in awaited:
            wait_until_listening(started, host, port, data)
        yield running
