"""An rng and a hasher that the load test starts where no running ones are named."""

import asyncio
import contextlib
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence

from chassis.process import EXIT_SETTINGS
from chassis.settings import Pace
from load_test import LoadTestError, UsageError

HOST = "127.0.0.1"

# Below those of outgoing connections, one of which could take a free port before the service does.
PORTS = range(20_000, 32_000)

# A service usually listens after 1 s, and promises to drain in 3.5 s.
START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0


class LocalService:
    """One `python -m NAME_svc` at full pace, on a free port of loopback."""

    def __init__(self, name: str) -> None:
        """Start the process. Raises UsageError where the service is not installed, as in the load test's image."""
        self.name = name
        if importlib.util.find_spec(f"{name}_svc") is None:
            raise UsageError(f"no {name} can be started here: name one with --{name}-target or {name.upper()}_TARGET")
        self._port = _free_port()
        # TLS_CERT and the others are a worker's, and this traffic stays on loopback.
        own = {"PACE": Pace.FULL, "BIND_ADDRESS": HOST, **dict.fromkeys(("TLS_CERT", "TLS_KEY", "TLS_CA"), "")}
        environment = {
            # The access log would make calls slower than they are.
            "LOG_LEVEL": "warning",
            **os.environ,
            **{f"{name.upper()}_{setting}": value for setting, value in own.items()},
            "PORT": str(self._port),
            "METRICS_PORT": "0",
            "INSTANCE": f"{name}-1",
        }
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self._process = subprocess.Popen(  # noqa: S603 - our own service
            [sys.executable, "-m", f"{name}_svc"],
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches the load test only, which then drains what is in flight.
            process_group=0,
        )
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def target(self) -> str:
        """The address, as gRPC names it."""
        return f"ipv4:{HOST}:{self._port}"

    def check(self) -> None:
        """Raise LoadTestError if the process has ended, UsageError if it refused a setting."""
        code = self._process.poll()
        if code is not None:
            self._output.seek(0)
            last_line = self._output.read().decode(errors="replace").strip().rpartition("\n")[2]
            kind = UsageError if code == EXIT_SETTINGS else LoadTestError
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise kind(f"the {self.name} started here {how}{': ' if last_line else ''}{last_line}")

    async def wait_until_listening(self) -> None:
        """Wait for the port. Raises LoadTestError if the process ends, or does not listen in time."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection((HOST, self._port), timeout=0.1):
                return
            await asyncio.sleep(0.05)
        raise LoadTestError(f"the {self.name} started here did not listen within {START_LIMIT_S:.0f} s")

    async def stop(self) -> None:
        """Terminate the process, and kill it if it has not drained in time."""
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


def _free_port() -> int:
    """Return a free port. Raises LoadTestError if there is none."""
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise LoadTestError(f"no port of {HOST} from {PORTS[0]} to {PORTS[-1]} is free")


@contextlib.asynccontextmanager
async def local_services(services: dict[str, LocalService], names: Sequence[str]) -> AsyncIterator[None]:
    """Start these services, put them into `services` by name, and stop them when the context ends.

    Raises LoadTestError and UsageError.
    """
    try:
        for name in names:
            services[name] = LocalService(name)
        for service in services.values():
            await service.wait_until_listening()
        yield
    finally:
        await asyncio.gather(*(service.stop() for service in services.values()))
