"""Processes that a measurement starts and ends, and where they listen."""

import contextlib
import ctypes
import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

START_LIMIT = 60.0
"""Seconds. Eighteen servers start at the same time, and a busy machine imports slowly."""


class BenchError(Exception):
    """A measurement can't be made; the message says which process or address is the cause."""


@contextlib.contextmanager
def process(
    command: list[str], environment: dict[str, str], log: Path, folder: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with the context, in this folder or another one; what it says is kept in the log."""
    inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TMPDIR"}}
    with log.open("wb") as output:
        started = subprocess.Popen(  # noqa: S603 - our own services
            command, cwd=folder, env={**inherited, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and all its threads, those that have ended included.

    Linux counts it in nanoseconds, where /proc counts hundredths of a second (man 3 clock_getcpuclockid).
    """
    if sys.platform != "linux":
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise BenchError(f"the CPU time of process {pid} is not known: {os.strerror(error)}")
    return time.clock_gettime(clock.value)


def free_port(*hosts: str) -> int:
    """A TCP port that is free on all of these addresses, or on 127.0.0.1.

    Raises BenchError for an address that this machine does not have.
    """
    first, *others = hosts or ("127.0.0.1",)
    while True:
        with contextlib.ExitStack() as stack:
            try:
                port: int = stack.enter_context(socket.create_server((first, 0))).getsockname()[1]
                for host in others:
                    stack.enter_context(socket.create_server((host, port)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                commands = "; ".join(f"sudo ifconfig lo0 alias {host}" for host in hosts)
                raise BenchError(
                    f"can't listen on {', '.join(hosts)}: {os.strerror(error.errno or 0)}; on macOS: {commands}"
                ) from None
            return port


def wait_until_listening(server: "subprocess.Popen[bytes]", host: str, port: int, folder: Path) -> None:
    """Return once connections are taken there. Raises BenchError with the folder's logs when they are not in time."""
    deadline = time.monotonic() + START_LIMIT
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise BenchError(f"nothing listens on {host}:{port} within {START_LIMIT:.0f} s: {log_tails(folder)}")
        time.sleep(0.02)
    raise BenchError(f"what was to listen on {host}:{port} ended with {server.returncode}: {log_tails(folder)}")


def log_tails(folder: Path) -> str:
    """The ends of all logs in a folder."""
    return "; ".join(f"{path.name}: {path.read_text()[-300:]!r}" for path in sorted(folder.glob("*.log")))
