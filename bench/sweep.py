"""Load tests beside baselines, one process that does the same work and the work alone; and a worker's autotune."""

import argparse
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from statistics import mean

from bench.figures import Bound, Report, Spread, digits, table
from bench.processes import BenchError, log_tails, process, show
from bench.system import servers
from hasher_svc.hashing import KernelError, kernel_hashing
from load_test import report
from load_test.report import Result

MESSAGE_SIZE = 32
# SHA-256 works on blocks of 64 bytes; a message of 32 is one block once it is padded.
BLOCK_SIZE = 64
WORK_SECONDS = 0.1

# Times the loop over hashlib in one process, at the best batch size.
MIN_SPEED = 2.2
# CPU per hash of all processes at the best batch size, beyond the work itself.
MAX_BEYOND_NS = 150

# The points that autotune is compared with.
POINTS = {"--batch-sizes": "1024,4096,16384,65536", "--windows": "4,8,16", "--duration": "2", "--repeat": "2"}

# 99 of 100 batches are to be done in that time: the worker's default.
TARGET_LATENCY_S = 0.1

# A worker has to find its batch size and window in that time.
SETTLING_S = 15.0

# The speed of autotune, times that at the best point.
MIN_AUTOTUNE_SPEED = 0.95


def load_test(folder: Path, options: Mapping[str, str], environment: Mapping[str, str] | None = None) -> list[Result]:
    """Run a load test with these options; return the results. Raises BenchError if it fails."""
    output = folder / "load-test.json"
    words = [word for option in {**options, "--output": str(output)}.items() for word in option]
    command = [sys.executable, "-m", "load_test", *words]
    with process(command, environment or {}, folder / "load-test.log") as started:
        if started.wait() != 0:
            raise BenchError(f"the load test ended with {started.returncode}: {log_tails(folder)}")
    return list(report.load("--output", output).points)


def sweep(arguments: argparse.Namespace, folder: Path) -> Report:
    """Compare all batch sizes with the baselines."""
    show(f"the load test of {len(arguments.batch_sizes)} batch sizes")
    options = {"--duration": f"{arguments.seconds:g}", "--repeat": f"{arguments.repeats}", "--warm-up": "0.5"}
    results = load_test(folder, {**options, "--batch-sizes": ",".join(map(str, arguments.batch_sizes))})
    show("")
    rows = []
    for size, result in ((result.point.batch_size, result) for result in results):
        baseline = Spread([run.baseline_hashes_per_second / 1e6 for run in result.runs])
        speed = Spread([run.hashes_per_second / 1e6 for run in result.runs])
        figures = (baseline, speed, Spread([run.vs_baseline for run in result.runs]), _cpu_ns(result))
        rows.append([f"{size:,}", *map(str, figures), *map(digits, _work_ns(size))])
    title = (
        "One rng, one hasher, one load test: millions of hashes per second; CPU per hash, ns, of all processes and of "
        f"the work alone; median (least-most) of {arguments.repeats} runs; baseline: a loop over hashlib in one process"
    )
    header = ["batch", "baseline", "pipeline", "vs. baseline", "CPU", "random", "SHA-256"]
    best = max(results, key=lambda result: result.summary.vs_baseline.median)
    work_alone = sum(_work_ns(best.point.batch_size))
    beyond = Spread([value - work_alone for value in _cpu_ns(best).values])
    return table(title, header, rows), [
        Bound("best batch size, vs. baseline", Spread([run.vs_baseline for run in best.runs]), ">=", MIN_SPEED),
        Bound("CPU per hash beyond random bytes and SHA-256, ns", beyond, "<=", MAX_BEYOND_NS),
    ]


def _cpu_ns(result: Result) -> Spread:
    return Spread([sum(run.cpu_per_million.values()) * 1e3 for run in result.runs])


def _work_ns(batch_size: int) -> tuple[float, float]:
    """Return the CPU time per message of random bytes and of SHA-256, in a process that does nothing else.

    Where there is no kernel, SHA-256 is that of one long message, per block.
    """
    data = ssl.RAND_bytes(batch_size * MESSAGE_SIZE)
    try:
        digests = kernel_hashing().digests
    except KernelError:
        message = data * (BLOCK_SIZE // MESSAGE_SIZE)
        hashing = _nanoseconds(lambda: sha256(message))
    else:
        hashing = _nanoseconds(lambda: digests(data, MESSAGE_SIZE))
    return _nanoseconds(lambda: ssl.RAND_bytes(len(data))) / batch_size, hashing / batch_size


def _nanoseconds(work: Callable[[], object]) -> float:
    times = 0
    ended = time.perf_counter() + WORK_SECONDS
    began = time.thread_time_ns()
    while time.perf_counter() < ended:
        work()
        times += 1
    return (time.thread_time_ns() - began) / times


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
    return [title], [Bound("autotune, vs. the best fixed point", Spread([tuned / fixed]), ">=", MIN_AUTOTUNE_SPEED)]
