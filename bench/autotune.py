"""The speed of a worker that chooses batch size and window itself, beside the fastest point of a load test."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from bench.figures import Bound, Report, Spread, table
from bench.processes import BenchError, show
from bench.sweep import load_test
from bench.system import Servers, servers
from load_test.report import Result

# The points of the load test.
BATCH_SIZES = "1024,4096,16384,65536"
WINDOWS = "4,8,16"

# 99 of 100 batches are to be done in that time: the worker's default.
TARGET_LATENCY_S = 0.1

# A worker has to find its batch size and window in that time, and no later window of WINDOW_S may be slow.
SETTLING_S = 15.0
WINDOW_S = 10.0
REPORT_INTERVAL_S = 0.5

# The speed, times that at the best point: on the whole, and in the slowest window.
MIN_SPEED = 0.95
MIN_WINDOW_SPEED = 0.85


def autotune(arguments: argparse.Namespace, folder: Path) -> Report:
    """Find the best point, then compare a worker that chooses for itself with workers fixed to it, before and after."""
    with servers(folder, {"PACE": "full"}) as running:
        show("autotune: the load test of fixed points, a minute and a half")
        best = _best_point(running, folder)
        settings = {"BATCH_SIZE": f"{best.point.batch_size}", "WINDOW_SIZE": f"{best.point.window}"}
        show("autotune: a worker that chooses for itself")
        fixed = [running.mine(settings, WINDOW_S).speed]
        speeds = _speeds(running, arguments.autotune_seconds)
        fixed.append(running.mine(settings, WINDOW_S).speed)
    show("")
    length = round(WINDOW_S / REPORT_INTERVAL_S)
    slowest = min(mean(speeds[begin : begin + length]) for begin in range(max(1, len(speeds) - length + 1)))
    baseline, millions = mean(fixed), (f"{speed / 1e6:.2f}" for speed in (mean(fixed), mean(speeds), slowest))
    title = (
        f"Autotune, and the best of batches {BATCH_SIZES} and windows {WINDOWS} within {TARGET_LATENCY_S:g} s "
        f"(batch {best.point.batch_size:,}, window {best.point.window}): millions of hashes per second"
    )
    return table(title, ["baseline", "autotune", "slowest 10 s"], [list(millions)]), [
        Bound("autotune, vs. the best fixed point", Spread([mean(speeds) / baseline]), ">=", MIN_SPEED),
        Bound("its slowest 10 s, vs. the best fixed point", Spread([slowest / baseline]), ">=", MIN_WINDOW_SPEED),
    ]


def _best_point(running: Servers, folder: Path) -> Result:
    options = {"--batch-sizes": BATCH_SIZES, "--windows": WINDOWS, "--duration": "2", "--repeat": "2"}
    results = load_test(folder, options, running.targets)
    in_time = [result for result in results if result.summary.latency_seconds["total"].p99 <= TARGET_LATENCY_S]
    if not in_time:
        raise BenchError(f"at no point of the load test were 99 of 100 batches done within {TARGET_LATENCY_S:g} s")
    return max(in_time, key=lambda result: result.summary.hashes_per_second.median)


def _speeds(running: Servers, seconds: float) -> list[float]:
    """Return the hashes per second of each report of a worker, once it should have settled."""
    speeds = []
    settings = {"REPORT_INTERVAL": f"{REPORT_INTERVAL_S}", "TARGET_LATENCY": f"{TARGET_LATENCY_S}"}
    began = time.monotonic()
    with running.worker(settings):
        last = running.last_report()
        while (elapsed := time.monotonic() - began) < SETTLING_S + seconds:
            last, report = running.next_report(last)
            if elapsed >= SETTLING_S:
                speeds.append(_speed(report))
    return speeds


def _speed(report: Mapping[str, str]) -> float:
    return int(report["hashes"]) / (int(report["end_us"]) - int(report["begin_us"])) * 1e6
