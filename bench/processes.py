"""The processes of a measurement: how they start and end, what they use, and when they are ready."""

import contextlib
import ctypes
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

# Eighteen servers may start at once, and a busy machine imports slowly.
START_LIMIT_S = 60.0
STOP_LIMIT_S = 5.0

# Each probe costs the service some of the CPU that is measured.
PROBE_INTERVAL_S = 0.05

# GRPC_EXPERIMENTS chooses how gRPC waits for sockets (docs/performance.md).
_INHERITED = {"PATH", "HOME", "LANG", "TMPDIR", "GRPC_EXPERIMENTS"}


class BenchError(Exception):
    """A measurement failed; the message names the process or address that caused it."""


def show(text: str) -> None:
    """Replace the line of standard error that says what is measured; an empty text clears it."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


@contextlib.contextmanager
def process(
    command: list[str], environment: Mapping[str, str], log: Path, folder: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process for the duration of the context, in a folder if one is given; its output goes to the log."""
    inherited = {key: value for key, value in os.environ.items() if key in _INHERITED}
    with log.open("wb") as output:
        started = subprocess.Popen(  # noqa: S603 - our own services
            command, cwd=folder, env={**inherited, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its threads, including ended ones.

    Linux counts it in nanoseconds (man 3 clock_getcpuclockid), while /proc has hundredths of a second.
    """
    if sys.platform != "linux":
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise BenchError(f"the CPU time of process {pid} is not known: {os.strerror(error)}")
    return time.clock_gettime(clock.value)


def wait_until_listening(server: "subprocess.Popen[bytes]", host: str, port: int, folder: Path) -> None:
    """Wait until a process accepts connections. Raises BenchError, with the logs in the folder, if it does not."""

    def connect() -> bool:
        socket.create_connection((host, port), timeout=1).close()
        return True

    _wait_until(connect, server, f"listening on {host}:{port}", folder)


def wait_until_ready(server: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    """Wait until /readyz on a port of 127.0.0.1 says so. Raises BenchError, as wait_until_listening() does."""

    def get() -> bool:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=START_LIMIT_S)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK

    _wait_until(get, server, f"ready on port {port}", folder)


def _wait_until(condition: Callable[[], bool], server: "subprocess.Popen[bytes]", state: str, folder: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while server.poll() is None:
        with contextlib.suppress(OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise BenchError(f"no process is {state} within {START_LIMIT_S:.0f} s: {log_tails(folder)}")
        time.sleep(PROBE_INTERVAL_S)
    raise BenchError(f"a process ended with {server.returncode} before it was {state}: {log_tails(folder)}")


def log_tails(folder: Path) -> str:
    """Return the ends of all logs in a folder."""
    return "; ".join(f"{path.name}: {path.read_text()[-300:]!r}" for path in sorted(folder.glob("*.log")))
