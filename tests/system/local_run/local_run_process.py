"""A real local run on free ports and in a folder of its own, and what is left of it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from support.free_port import free_ports

START_LIMIT = 30.0
"""Seconds for everything that has to start, on a busy machine."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class LocalRun:
    """One `python -m local_run`."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._output = folder / "output"
        ports = free_ports(10)
        self.webui_port = ports + 9
        self.ports = {
            "RNG_PORT": str(ports),
            "HASHER_PORT": str(ports + 4),
            "REDIS_PORT": str(ports + 8),
            "WEBUI_PORT": str(self.webui_port),
        }
        environment = {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            **{f"{service}_METRICS_PORT": "0" for service in ("RNG", "HASHER", "WORKER", "WEBUI")},
            "DATA_DIR": str(folder / "data"),
            **self.ports,
            **variables,
        }
        with self._output.open("wb") as output:
            # A group of its own, as a terminal gives to each command.
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "local_run"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._process = psutil.Process(self.popen.pid)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, pattern: str, limit: float = START_LIMIT) -> re.Match[str]:
        """The first match in the output. Raises TimeoutError with the output when there is none in time."""
        deadline = time.monotonic() + limit
        while not (match := re.search(pattern, self.output, re.MULTILINE)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {pattern!r} in: {self.output}")
            time.sleep(0.02)
        return match

    def wait_until_mining(self, *workers: str) -> None:
        for worker in workers or ("worker-1",):
            self.wait_for(rf"^{worker} .* [1-9][0-9]* units of work done")

    def wait_until_page_is_there(self) -> None:
        self.wait_for(r"^run .* the page is at ")

    def processes(self) -> dict[str, psutil.Process]:
        """What runs now, by the names of instances."""
        return {self._instance(child): child for child in self._process.children()}

    def signal_and_wait(self, number: signal.Signals, limit: float = 15.0) -> tuple[int, float]:
        """The exit code, and how many seconds it took until the last process was gone."""
        children = self._process.children()
        began = time.monotonic()
        self.popen.send_signal(number)
        code = self.popen.wait(limit)
        took = time.monotonic() - began
        _, alive = psutil.wait_procs(children, timeout=0)
        assert not alive
        return code, took

    def close(self) -> None:
        """End what is left of it, if anything."""
        if self.popen.poll() is None:
            children = self._process.children()
            for process in (self._process, *children):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.popen.wait()

    @staticmethod
    def _instance(process: psutil.Process) -> str:
        with suppress(psutil.NoSuchProcess):
            if process.name() == "valkey-server":
                return "redis"  # it writes its title over its environment
            return process.environ().get("SUPERVISOR_PROCESS_NAME", "")
        return ""
