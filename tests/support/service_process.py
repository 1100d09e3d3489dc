"""Services as real processes, with their logs, for tests that start, stop, kill and freeze them."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from support.programs import environment
from support.waiting import LIMIT_S, wait_until

TESTS = Path(__file__).parents[1]


class ServiceProcess:
    """One `python -m NAME_svc`, on loopback and free ports, its output in a file."""

    def __init__(self, module: str, env: Mapping[str, object], output: Path) -> None:
        self.output = output
        with output.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *module.split()],
                env=environment(**{"METRICS_PORT": 0, "PYTHONUNBUFFERED": 1, **env}),
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def instance(self) -> str:
        return self.output.stem

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, pattern: str, limit: float = LIMIT_S) -> "re.Match[str]":
        """Return the first match in the output. Raises AssertionError with the output when there is none in time."""
        wait_until(lambda: self.popen.poll() is not None or re.search(pattern, self.text), limit, lambda: self.text)
        match = re.search(pattern, self.text)
        assert match, f"no {pattern!r} in: {self.text}"
        return match

    @property
    def port(self) -> int:
        """The port a gRPC server says it listens on."""
        return int(self.wait_for(r'(?:listening.*address=|"address": ")\S+:(\d+)')[1])

    @property
    def metrics_port(self) -> int:
        """The port that metrics are on: the other one that it listens on."""
        self.wait_until_started()
        open_here = psutil.Process(self.popen.pid).net_connections("tcp")
        listening = {each.laddr.port for each in open_here if each.status == psutil.CONN_LISTEN}
        if "listening" in self.text:
            listening.remove(self.port)
        (port,) = listening
        return int(port)

    def wait_until_started(self) -> None:
        self.wait_for(r"\bstarted\b")

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, limit: float = 30.0) -> int:
        """End it as a person would, and return its exit code."""
        self.send(number)
        return self.popen.wait(limit)

    @property
    def units_logged(self) -> int:
        """The sum of a worker's "N units of work done"."""
        return sum(int(units) for units in re.findall(r"(\d+) units of work done", self.text))


class ServiceProcesses:
    """Starts services, and ends whatever is left of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[ServiceProcess] = []

    def start(self, name: str, **env: object) -> ServiceProcess:
        """Start a service, or a module of the tests. Servers get a free port unless PORT says otherwise."""
        if "." in name:
            env.setdefault("PYTHONPATH", TESTS)
        if name in {"rng", "hasher", "webui"}:
            env.setdefault("PORT", 0)
        if name == "worker":
            # Redis writes each report to a file, which can take seconds while others write to the disk.
            env.setdefault("STOP_LIMIT", 25)
        instance = env.setdefault("INSTANCE", f"{name}-{len(self._processes)}")
        process = ServiceProcess(f"{name}_svc", env, self._folder / f"{instance}.log")
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            if process.popen.poll() is None:
                process.send(signal.SIGCONT)
                process.kill()


@contextmanager
def service_processes(folder: Path) -> Iterator[ServiceProcesses]:
    """Processes that end with the context."""
    processes = ServiceProcesses(folder)
    try:
        yield processes
    finally:
        processes.end()


def local_target(*servers: ServiceProcess) -> str:
    """A gRPC target of several servers' ports."""
    return "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
