"""The load test at each batch size, beside baselines: one process that does the same work, and the work alone."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from bench.figures import Bound, Report, Spread, digits, table
from bench.processes import BenchError, log_tails, process, show
from hasher_svc.hashing import KernelError, kernel_hashing
from load_test import report
from load_test.report import Result

MESSAGE_SIZE = 32
# SHA-256 works on blocks of 64 bytes; a message of 32 is one block once it is padded.
BLOCK_SIZE = 64
WORK_SECONDS = 0.1
WARM_UP_S = 0.5

# Times the loop over hashlib in one process, at the best batch size.
MIN_SPEED = 2.2
# CPU per hash of all processes at the best batch size, beyond the work itself.
MAX_BEYOND_NS = 150


def load_test(folder: Path, options: Mapping[str, str], environment: Mapping[str, str] | None = None) -> list[Result]:
    """Run a load test with these options; return the results. Raises BenchError if it fails."""
    output = folder / "load-test.json"
    words = [word for option in {**options, "--output": str(output)}.items() for word in option]
    command = [sys.executable, "-m", "load_test", *words]
    with process(command, environment or {}, folder / "load-test.log") as started:
        if started.wait() != 0:
            raise BenchError(f"the load test ended with {started.returncode}: {log_tails(folder)}")
    return list(report.load(output).points)


def sweep(arguments: argparse.Namespace, folder: Path) -> Report:
    """Compare all batch sizes with the baselines."""
    show(f"the load test of {len(arguments.batch_sizes)} batch sizes")
    options = {"--duration": f"{arguments.seconds:g}", "--repeat": f"{arguments.repeats}", "--warm-up": f"{WARM_UP_S}"}
    results = load_test(folder, {**options, "--batch-sizes": ",".join(map(str, arguments.batch_sizes))})
    show("")
    rows = []
    for result in results:
        work = _work_ns(result.point.batch_size)
        vs_baseline = Spread([run.vs_baseline for run in result.runs])
        loop = Spread([run.baseline_hashes_per_second / 1e6 for run in result.runs])
        speed = Spread([run.hashes_per_second / 1e6 for run in result.runs])
        cpu = [str(_cpu_ns(result)), *(digits(each) for each in work)]
        rows.append([f"{result.point.batch_size:,}", str(loop), str(speed), str(vs_baseline), *cpu])
    title = (
        "One rng, one hasher, one load test: millions of hashes per second; CPU per hash, ns, of all processes and of "
        f"the work alone; median (least-most) of {arguments.repeats} runs; baseline: a loop over hashlib in one process"
    )
    header = ["batch", "baseline", "pipeline", "vs. baseline", "CPU", "urandom", "SHA-256"]
    return table(title, header, rows), _best(results)


def _best(results: list[Result]) -> list[Bound]:
    best = max(results, key=lambda result: result.summary.vs_baseline.median)
    work = sum(_work_ns(best.point.batch_size))
    beyond = Spread([value - work for value in _cpu_ns(best).values])
    return [
        Bound("best batch size, vs. baseline", Spread([run.vs_baseline for run in best.runs]), ">=", MIN_SPEED),
        Bound("CPU per hash beyond urandom and SHA-256, ns", beyond, "<=", MAX_BEYOND_NS),
    ]


def _cpu_ns(result: Result) -> Spread:
    return Spread([sum(run.cpu_per_million.values()) * 1e3 for run in result.runs])


def _work_ns(batch_size: int) -> tuple[float, float]:
    """Return the CPU time per message of random bytes and of SHA-256, in a process that does nothing else.

    Where there is no kernel, SHA-256 is that of one long message, per block.
    """
    data = os.urandom(batch_size * MESSAGE_SIZE)
    try:
        digests = kernel_hashing().digests
    except KernelError:
        message = data * (BLOCK_SIZE // MESSAGE_SIZE)
        hashing = _nanoseconds(lambda: sha256(message))
    else:
        hashing = _nanoseconds(lambda: digests(data, MESSAGE_SIZE))
    return _nanoseconds(lambda: os.urandom(len(data))) / batch_size, hashing / batch_size


def _nanoseconds(work: Callable[[], object]) -> float:
    times = 0
    ended = time.perf_counter() + WORK_SECONDS
    began = time.thread_time_ns()
    while time.perf_counter() < ended:
        work()
        times += 1
    return (time.thread_time_ns() - began) / times
