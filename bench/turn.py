"""A worker's turn on servers that run: a new process each time, measured by its own reports."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from bench.system import Servers

WARM_UP_REPORTS = 2
"""Those of starting and of the first streams being opened."""


@dataclass(frozen=True)
class Turn:
    """What it did."""

    hashes: int
    seconds: float
    cpu: float
    """Seconds, of the worker and the servers."""

    @property
    def speed(self) -> float:
        """Hashes a second."""
        return self.hashes / self.seconds

    @property
    def cpu_a_million(self) -> float:
        """CPU seconds a million hashes."""
        return self.cpu / self.hashes * 1e6


def take_turn(running: Servers, settings: Mapping[str, str], seconds: float, reports: float = 1.0) -> Turn:
    """Have a worker mine with these settings, for so many seconds once it is warm, with a report in so many each.

    Raises BenchError when it does not report.
    """
    with running.worker({"REPORT_INTERVAL": f"{reports}", **settings}) as worker:
        processes = [*running.processes.values(), worker]
        last = running.last_report()
        for _ in range(WARM_UP_REPORTS - 1):
            last, _ = running.next_report(last)
        # A report leaves as soon as its last batch is counted, so this is when its interval ends.
        before = _cpu(processes)
        hashes = 0
        taken = 0.0
        while taken < seconds - reports / 2:
            last, report = running.next_report(last)
            hashes += int(report["hashes"])
            taken += (int(report["end_us"]) - int(report["begin_us"])) / 1e6
        return Turn(hashes, taken, _cpu(processes) - before)


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))
