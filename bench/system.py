"""The real system, one process a service, run for as long as a measurement takes."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from bench.processes import START_LIMIT, BenchError, free_port, log_tails, process, wait_until_listening
from bench.tree import Tree
from local_run import embedded_redis

LOOPBACK = ("127.0.0.1",)


@dataclass
class Servers:
    """Replicas of rng and of hasher, and the Redis that workers report to."""

    folder: Path
    hosts: tuple[str, ...]
    """Where each service has a replica, all on one port."""
    settings: Mapping[str, str]
    redis: Any
    """A client; redis-py's own types admit every kind of client at once."""
    redis_url: str
    ports: dict[str, int] = field(default_factory=dict)
    """By the service's name."""
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    """By the service's name, and for further replicas with their host."""
    program: Sequence[str] = ("-m",)
    """What Python is to run, before the name of a service's package."""
    by_name: Callable[[str, int], str] | None = None
    """The target of a service's name and port, where a worker is not told addresses."""
    tree: Tree | None = None
    """Whose services they are; without one, this checkout's."""
    redis_pid: int = 0
    """Of Redis, where it was started with them."""

    def command(self, service: str) -> list[str]:
        """What starts a service."""
        python = sys.executable if self.tree is None else self.tree.python
        return [python, *self.program, f"{service}_svc"]

    def start(
        self, service: str, name: str, settings: Mapping[str, str]
    ) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
        """A service that ends with the context, with these settings beside those of all."""
        environment = {**self.settings, "INSTANCE": name, **settings}
        if self.tree is None:
            return process(self.command(service), environment, self.log(name))
        return process(self.command(service), self.tree.named(environment), self.log(name), self.tree.root)

    def log(self, name: str) -> Path:
        """What a process says."""
        return self.folder / f"{name}.log"

    @property
    def targets(self) -> dict[str, str]:
        """Where the services are found, as settings."""
        target = self.by_name or self._addresses
        return {f"{service.upper()}_TARGET": target(service, port) for service, port in self.ports.items()}

    def _addresses(self, _: str, port: int) -> str:
        return "ipv4:" + ",".join(f"{host}:{port}" for host in self.hosts)

    @contextlib.contextmanager
    def worker(self, settings: Mapping[str, str], name: str = "worker") -> Iterator[psutil.Process]:
        """A worker that has reported for the first time. Raises BenchError when it does not."""
        last = self.last_report()
        with self.start("worker", name, {**self.targets, "REDIS_URL": self.redis_url, **settings}) as started:
            self.next_report(last)
            yield psutil.Process(started.pid)

    @contextlib.contextmanager
    def further_hasher(self, name: str, *command: str) -> Iterator[str]:
        """One more hasher, of another kind, and its address. Raises BenchError when it does not listen."""
        host = self.hosts[0]
        port = free_port(host)
        environment = {**self.settings, "BIND_ADDRESS": host, "PORT": str(port), "INSTANCE": name}
        with process([sys.executable, *command], environment, self.log(name)) as started:
            wait_until_listening(started, host, port, self.folder)
            self.processes[name] = psutil.Process(started.pid)
            yield f"{host}:{port}"

    @property
    def hashes(self) -> int:
        """How many were counted, ever."""
        return int(self.redis.get("hashes") or 0)

    def last_report(self) -> str:
        """The id of the newest report; before the first one, an id that is less than all."""
        newest: list[tuple[str, dict[str, str]]] = self.redis.xrevrange("reports", count=1)
        return newest[0][0] if newest else "0"

    def next_report(self, last: str) -> tuple[str, dict[str, str]]:
        """Wait for the report after one with this id; its id and what it says. Raises BenchError if none comes."""
        answer = self.redis.xread({"reports": last}, count=1, block=round(START_LIMIT * 1e3))
        if not answer:
            raise BenchError(f"nothing was mined within {START_LIMIT:.0f} s: {log_tails(self.folder)}")
        report: tuple[str, dict[str, str]] = answer[0][1][0]
        return report


@contextlib.contextmanager
def servers(
    folder: Path,
    settings: Mapping[str, str],
    hosts: tuple[str, ...] = LOOPBACK,
    program: Sequence[str] = ("-m",),
    tree: Tree | None = None,
) -> Iterator[Servers]:
    """Servers with these settings, which workers share, listening. Raises BenchError when one does not."""
    port = free_port()
    data = folder / str(port)
    data.mkdir()
    environment = {"METRICS_PORT": "0", "LOG_LEVEL": "warning", **settings}
    with contextlib.ExitStack() as stack:
        command = list(embedded_redis.command(port, str(data)))
        store = stack.enter_context(process(command, {}, data / "redis-process.log"))
        client = stack.enter_context(contextlib.closing(redis.Redis(port=port, decode_responses=True)))
        running = Servers(data, hosts, environment, client, embedded_redis.url(port), program=program, tree=tree)
        running.redis_pid = store.pid
        awaited = [(store, "127.0.0.1", port)]
        for service in ("rng", "hasher"):
            running.ports[service] = free_port(*hosts)
            for number, host in enumerate(hosts):
                name = f"{service}-{host}" if number else service
                own = {"BIND_ADDRESS": host, "PORT": str(running.ports[service])}
                started = stack.enter_context(running.start(service, name, own))
                running.processes[name] = psutil.Process(started.pid)
                awaited.append((started, host, running.ports[service]))
        for started, host, listening in awaited:
            wait_until_listening(started, host, listening, data)
        yield running
