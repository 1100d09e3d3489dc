"""The speed of a worker that chooses batch size and window itself, beside the fastest point of a load test."""

import argparse
import time
from pathlib import Path
from statistics import mean

from bench.figures import Bound, Report, Spread
from bench.processes import BenchError, show
from bench.sweep import load_test
from bench.system import servers

POINTS = {"--batch-sizes": "1024,4096,16384,65536", "--windows": "4,8,16", "--duration": "2", "--repeat": "2"}

# 99 of 100 batches are to be done in that time: the worker's default.
TARGET_LATENCY_S = 0.1

# A worker has to find its batch size and window in that time.
SETTLING_S = 15.0

# The speed, times that at the best point.
MIN_SPEED = 0.95


def autotune(arguments: argparse.Namespace, folder: Path) -> Report:
    """Find the best point, then compare a worker that chooses for itself with workers fixed to it, before and after."""
    seconds = arguments.autotune_seconds
    with servers(folder, {"PACE": "full"}) as running:
        show("autotune: the load test of fixed points, a minute and a half")
        results = load_test(folder, POINTS, running.targets)
        in_time = [result for result in results if result.summary.latency_seconds["total"].p99 <= TARGET_LATENCY_S]
        if not in_time:
            raise BenchError(f"at no point of the load test were 99 of 100 batches done within {TARGET_LATENCY_S:g} s")
        best = max(in_time, key=lambda result: result.summary.hashes_per_second.median).point
        settings = {"BATCH_SIZE": f"{best.batch_size}", "WINDOW_SIZE": f"{best.window}"}
        show("autotune: a worker that chooses for itself")
        before = running.mine(settings, seconds / 4).speed
        with running.worker({"TARGET_LATENCY": f"{TARGET_LATENCY_S}"}) as worker:
            time.sleep(SETTLING_S)
            tuned = running.measure({"worker": worker}, seconds).speed
        fixed = mean((before, running.mine(settings, seconds / 4).speed))
    show("")
    title = f"Autotune: {tuned / 1e6:.2f} million hashes per second; {fixed / 1e6:.2f} at the best point ({best})"
    return [title], [Bound("autotune, vs. the best fixed point", Spread([tuned / fixed]), ">=", MIN_SPEED)]
