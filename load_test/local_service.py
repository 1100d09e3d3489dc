"""An rng and a hasher of the load test's own, for when no running ones are named."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator

from chassis.process import EXIT_SETTINGS
from chassis.settings import Pace
from load_test.errors import LoadTestError, UsageError

HOST = "127.0.0.1"

START_LIMIT = 20.0
"""Seconds until it listens; one is usual."""

STOP_LIMIT = 5.0
"""Seconds until it has drained; a service promises 3.5."""


class LocalService:
    """One `python -m NAME_svc` at full pace, on a free port of loopback."""

    def __init__(self, name: str) -> None:
        """Raises UsageError where the service is not installed, as in the worker's image."""
        self.name = name
        if importlib.util.find_spec(f"{name}_svc") is None:
            raise UsageError(
                f"no {name} can be started here: name a running one with --{name}-target or {name.upper()}_TARGET"
            )
        self.port = _free_port()
        # The certificates at hand are a worker's, and what is asked here stays on loopback.
        own = {"PACE": Pace.FULL, "BIND_ADDRESS": HOST, **dict.fromkeys(("TLS_CERT", "TLS_KEY", "TLS_CA"), "")}
        environment = {
            # A service that logs each call would make calls look slower than they are.
            "LOG_LEVEL": "warning",
            **os.environ,
            **{f"{name.upper()}_{setting}": value for setting, value in own.items()},
            "PORT": str(self.port),
            "METRICS_PORT": "0",
            "INSTANCE": f"{name}-1",
        }
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self._popen = subprocess.Popen(  # noqa: S603 - our own service
            [sys.executable, "-m", f"{name}_svc"],
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: what is asked for can then still be answered.
            process_group=0,
        )

    @property
    def target(self) -> str:
        """Where it is, as gRPC names it."""
        return f"ipv4:{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._popen.pid

    def check(self) -> None:
        """Raise LoadTestError if it has ended, UsageError if it refused a setting."""
        code = self._popen.poll()
        if code is not None:
            self._output.seek(0)
            said = self._output.read().decode(errors="replace").strip().rpartition("\n")[2]
            kind = UsageError if code == EXIT_SETTINGS else LoadTestError
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise kind(f"the {self.name} started here {how}{': ' if said else ''}{said}")

    async def wait_until_listening(self) -> None:
        """Raises LoadTestError if it ends, or does not listen in time."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=0.1):
                return
            await asyncio.sleep(0.05)
        raise LoadTestError(f"the {self.name} started here did not listen within {START_LIMIT:.0f} s")

    def stop(self) -> None:
        """Tell it to end."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()

    async def wait(self) -> None:
        """Until it has ended, by whatever it takes."""
        deadline = time.monotonic() + STOP_LIMIT
        while self._popen.poll() is None:
            if time.monotonic() > deadline:
                self._popen.kill()
            await asyncio.sleep(0.02)
        self._output.close()


@contextlib.asynccontextmanager
async def local_services(services: dict[str, LocalService], *names: str) -> AsyncIterator[None]:
    """Put these services among those that run, listening, until the context is left.

    Raises LoadTestError and UsageError.
    """
    try:
        for name in names:
            services[name] = LocalService(name)
        for service in services.values():
            await service.wait_until_listening()
        yield
    finally:
        for service in services.values():
            service.stop()
        for service in services.values():
            await service.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
