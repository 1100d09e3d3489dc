"""The batch size and window that a worker finds while it mines, beside the fastest that a load test found."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench import progress
from bench.bound import AtLeast, Bound
from bench.processes import BenchError, log_tails, process
from bench.spread import Spread
from bench.system import Servers, servers
from bench.turn import take_turn
from load_test import report
from load_test.plan import Point

BATCH_SIZES = "1024,4096,16384,65536"
WINDOWS = "4,8,16"

SWEEP_SECONDS = 2
SWEEP_REPEATS = 2

TARGET_LATENCY = 0.1
"""Seconds in which 99 of 100 batches are to be done: the worker's default."""

SETTLING_LIMIT = 15.0
"""Seconds from its start in which a worker has found them."""

WINDOW_SECONDS = 10.0
"""Of which none may be slow from then on."""

REPORT_INTERVAL = 0.5
"""Seconds by which such a window is moved on."""

LEAST_OF_BEST = 0.95
LEAST_OF_BEST_IN_A_WINDOW = 0.85


@dataclass(frozen=True)
class Run:
    """One worker that is left alone, between two that are told the best point."""

    best: float
    """Hashes a second at the best point, before and after."""
    tuned: float
    """Hashes a second of the one that looks for itself, once it should have found it."""
    slowest: float
    """The same in the slowest of its windows."""


@dataclass(frozen=True)
class Tuning:
    """What was found."""

    best: Point
    runs: Sequence[Run]


def measure(repeats: int, seconds: float, folder: Path) -> Tuning:
    """Sweep once, then watch workers for so long each. Raises BenchError when a service does not do its work."""
    with servers(folder, {"PACE": "full"}) as running:
        best = _best_point(running, folder)
        fixed = {"BATCH_SIZE": f"{best.batch_size}", "WINDOW_SIZE": f"{best.window}"}
        runs = []
        for number in range(repeats):
            progress.show(f"found while mining: {number + 1} of {repeats}")
            before = take_turn(running, fixed, WINDOW_SECONDS).speed
            speeds = _tuned(running, seconds)
            after = take_turn(running, fixed, WINDOW_SECONDS).speed
            runs.append(Run(mean((before, after)), mean(speeds), min(_windows(speeds))))
    progress.show("")
    return Tuning(best, runs)


def _best_point(running: Servers, folder: Path) -> Point:
    """The fastest whose batches are done in time."""
    progress.show("found while mining: a load test of fixed points, a minute and a half")
    output = folder / "sweep.json"
    words = {
        "--batch-sizes": BATCH_SIZES,
        "--windows": WINDOWS,
        "--duration": f"{SWEEP_SECONDS}",
        "--repeat": f"{SWEEP_REPEATS}",
        "--output": f"{output}",
    }
    command = [sys.executable, "-m", "load_test", *(word for pair in words.items() for word in pair)]
    with process(command, running.targets, folder / "load-test.log") as sweep:
        if sweep.wait() != 0:
            raise BenchError(f"the load test ended with {sweep.returncode}: {log_tails(folder)}")
    in_time = [
        result for result in report.load(output).points if result.summary.latency_seconds["total"].p99 <= TARGET_LATENCY
    ]
    if not in_time:
        raise BenchError(f"no point of the load test had 99 of 100 batches done within {TARGET_LATENCY:g} s")
    return max(in_time, key=lambda result: result.summary.hashes_per_second.median).point


def _tuned(running: Servers, seconds: float) -> list[float]:
    """Hashes a second by each report, of a worker left alone, from when it should have found the best point."""
    settings = {"REPORT_INTERVAL": f"{REPORT_INTERVAL}", "TARGET_LATENCY": f"{TARGET_LATENCY}"}
    began = time.monotonic()
    speeds = []
    with running.worker(settings):
        last = running.last_report()
        while (elapsed := time.monotonic() - began) < SETTLING_LIMIT + seconds:
            last, mined = running.next_report(last)
            if elapsed >= SETTLING_LIMIT:
                speeds.append(_speed(mined))
    return speeds


def _speed(mined: Mapping[str, str]) -> float:
    return int(mined["hashes"]) / (int(mined["end_us"]) - int(mined["begin_us"])) * 1e6


def _windows(speeds: list[float]) -> Iterator[float]:
    """The mean of each window; reports are as good as equally long."""
    length = round(WINDOW_SECONDS / REPORT_INTERVAL)
    for begin in range(len(speeds) - length + 1):
        yield mean(speeds[begin : begin + length])


def lines(tuning: Tuning) -> Iterator[str]:
    """The table."""
    best, tuned, slowest = (
        Spread([value / 1e6 for value in column])
        for column in zip(*((run.best, run.tuned, run.slowest) for run in tuning.runs), strict=True)
    )
    yield (
        f"Found while mining, beside the fastest of {BATCH_SIZES} x {WINDOWS} within {TARGET_LATENCY:g} s "
        f"(batch {tuning.best.batch_size:,}, window {tuning.best.window}): millions of hashes a second"
    )
    yield f"{'fixed at that':>22} {'found':>22} {'slowest 10 s':>22}"
    yield f"{best!s:>22} {tuned!s:>22} {slowest!s:>22}"


def bounds(tuning: Tuning) -> list[Bound]:
    """What it is held to."""
    mostly = Spread([run.tuned / run.best for run in tuning.runs])
    always = Spread([run.slowest / run.best for run in tuning.runs])
    return [
        AtLeast("found while mining, of the best fixed point", mostly.median, LEAST_OF_BEST, mostly.noise),
        AtLeast("its slowest 10 s, of the best", min(always.values), LEAST_OF_BEST_IN_A_WINDOW, always.noise),
    ]
