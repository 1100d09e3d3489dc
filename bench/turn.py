"""A worker's turn on servers that run: a new process each time, measured from one of its reports to another."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from bench.processes import cpu_seconds
from bench.system import Servers


@dataclass(frozen=True)
class Turn:
    """What was done."""

    hashes: int
    seconds: float
    cpu: Mapping[str, float]
    """Seconds, by process."""

    @property
    def speed(self) -> float:
        """Hashes a second."""
        return self.hashes / self.seconds

    @property
    def cpu_a_million(self) -> float:
        """CPU seconds a million hashes, of all processes."""
        return sum(self.cpu.values()) / self.hashes * 1e6


def take_turn(running: Servers, settings: Mapping[str, str], seconds: float, reports: float = 1.0) -> Turn:
    """Have a worker mine with these settings, for so many seconds once it is warm, with a report in so many each.

    Raises BenchError when it does not report.
    """
    with running.worker({"REPORT_INTERVAL": f"{reports}", **settings}) as worker:
        # It has reported once, and the report that counting begins with is the second.
        return count(running, {**running.processes, "worker": worker}, seconds - reports / 2)


def count(running: Servers, processes: Mapping[str, psutil.Process], seconds: float) -> Turn:
    """Count what is mined from the next report to the first one that comes in no less time, and what that costs.

    A report leaves as soon as its last batch is counted. Raises BenchError when none comes.
    """
    last, _ = running.next_report(running.last_report())
    hashes, began, before = running.hashes, time.monotonic(), _cpu(processes)
    while time.monotonic() < began + seconds:
        last, _ = running.next_report(last)
    after, ended = _cpu(processes), time.monotonic()
    return Turn(
        running.hashes - hashes,
        ended - began,
        {name: seconds - before[name] for name, seconds in after.items()},
    )


def _cpu(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    return {name: cpu_seconds(process.pid) for name, process in processes.items()}
