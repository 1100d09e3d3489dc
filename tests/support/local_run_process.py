"""A real local run on free ports and in a folder of its own, and what is left of it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from support.free_port import free_ports
from support.service_process import KEPT
from support.waiting import wait_until

LIMIT_S = 60.0


class LocalRun:
    """One `python -m local_run`."""

    def __init__(self, folder: Path, output: str, variables: Mapping[str, str]) -> None:
        self._output = folder / output
        ports = free_ports(10)
        self.redis_port = ports + 8
        self.webui_port = ports + 9
        environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            **{f"{service}_METRICS_PORT": "0" for service in ("RNG", "HASHER", "WORKER", "WEBUI")},
            "DATA_DIR": str(folder / "data"),
            "RNG_PORT": str(ports),
            "HASHER_PORT": str(ports + 4),
            "REDIS_PORT": str(self.redis_port),
            "WEBUI_PORT": str(self.webui_port),
            **variables,
        }
        with self._output.open("wb") as file:
            # A group of its own, as a terminal gives to each command.
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "local_run"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._process = psutil.Process(self.popen.pid)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the output."""
        self.wait_until(lambda: re.search(pattern, self.output, re.MULTILINE))
        match = re.search(pattern, self.output, re.MULTILINE)
        assert match is not None
        return match

    def wait_until(self, condition: Callable[[], object]) -> None:
        wait_until(condition, LIMIT_S, lambda: self.output)

    def wait_until_mining(self, *workers: str) -> None:
        for worker in workers:
            self.wait_for(rf"^{worker} .* [1-9][0-9]* units of work done")

    def processes(self) -> dict[str, psutil.Process]:
        """What runs now, by the names of instances."""
        return {self._instance(child): child for child in self._process.children()}

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
