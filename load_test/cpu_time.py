"""CPU seconds that processes have used, of all their threads, in user and system mode."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

OURS = "load-test"
"""What this process is called among those seen."""


def used(services: Mapping[str, int]) -> dict[str, float]:
    """By name: of this process, and of those with the given ids as far as they can be seen."""
    seen = {OURS: time.process_time()}
    for name, pid in services.items():
        seconds = _of(pid)
        if seconds is not None:
            seen[name] = seconds
    return seen


def _from_proc(pid: int) -> float | None:
    """To a hundredth of a second, as Linux gives it (proc_pid_stat(5): utime and stime, in clock ticks)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The process's name, in parentheses, may hold anything; these are the 12th and 13th fields after it.
    utime, stime = stat.rpartition(")")[2].split()[11:13]
    return (int(utime) + int(stime)) / os.sysconf("SC_CLK_TCK")


def _from_ps(pid: int) -> float | None:
    """To a hundredth of a second on macOS: [[hours:]minutes:]seconds."""
    done = subprocess.run(["/bin/ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603 - a number
    try:
        seconds = 0.0
        for part in done.stdout.strip().split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        return None
    return seconds


_of: Callable[[int], float | None] = _from_proc if Path("/proc/self/stat").exists() else _from_ps
