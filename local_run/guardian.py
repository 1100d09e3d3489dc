"""Kills the processes of a run whose own process was killed, so that none is left to hold ports and data.

Linux does it by itself: a process has the kernel kill it when its parent dies. Elsewhere this module runs as a process
beside the run, `python -m local_run.guardian`, that learns of its end by the end of a pipe.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

HAS_PARENT_DEATH_SIGNAL = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1


def parent_death_signal() -> Callable[[], None]:
    """Return a function for a new process, which then dies when this process, or the thread that forked, does."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died meanwhile
            os._exit(1)

    return arm


class Guardian:
    """The process that kills process groups when the one that started it is gone."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "local_run.guardian"]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, process_group=0)  # noqa: S603 - ours

    def add(self, group: int) -> None:
        """Guard a process group."""
        self._send(f"+{group}")

    def remove(self, group: int) -> None:
        """Leave a group alone that has ended."""
        self._send(f"-{group}")

    def close(self) -> None:
        """End the guardian, which kills the groups that are left."""
        if self._popen.stdin:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()
        self._popen.wait()

    def _send(self, line: str) -> None:
        if self._popen.stdin:
            with contextlib.suppress(OSError):  # without a guardian everything else still works
                self._popen.stdin.write(f"{line}\n")
                self._popen.stdin.flush()


def kill_group(group: int) -> None:
    """Kill all processes of a group, if there are any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group of zombies
        os.killpg(group, signal.SIGKILL)


def _guard() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        kill_group(group)


if __name__ == "__main__":
    _guard()
