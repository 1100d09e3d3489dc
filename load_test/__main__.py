"""`python -m load_test`: measures, reports, and ends with the exit code that the help describes."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from datetime import UTC, datetime

from rich.console import Console

from chassis import grpc_log, log
from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError
from load_test import UsageError, output
from load_test.comparison import compare
from load_test.machine import Disturbances, machine, versions
from load_test.options import PROGRAM, Options, parse
from load_test.progress import Progress
from load_test.report import Point, Report, load, results
from load_test.sweep import INTERRUPTED, Sweep, plan

# Of --strict.
EXIT_INCONCLUSIVE = 3

# As shells have it for a process that SIGINT ended.
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run a load test and return the exit code."""
    try:
        options = parse(arguments)
        points, notes = plan(options)
        output.check_writable(options)
        report = None if options.read is None else load("--read", options.read)
        points = points if report is None else [result.point for result in report.points]
        earlier = None if options.compare is None else load("--compare", options.compare, points)
        if report is not None:
            return _report(report, earlier, options)
        # Only what gRPC writes to standard error is captured. The descriptor stays open for the last lines of the log.
        stderr = open(os.dup(grpc_log.STANDARD_ERROR), "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        with redirect_stderr(stderr), grpc_log.capture(options.settings.log_format):
            return _report(_measure(options, points, notes), earlier, options)
    except (SettingsError, UsageError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return EXIT_SETTINGS


def _measure(options: Options, points: Sequence[Point], notes: Sequence[str]) -> Report:
    log.configure(options.log_level, options.settings.log_format, descriptor=sys.stderr.fileno())
    console = Console(stderr=True)
    for note in notes:
        console.print(note, soft_wrap=True, highlight=False)
    sweep = Sweep(options, points)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    machine_before, disturbances = machine(), Disturbances()
    with Progress(console, len(points) * options.repeat, sweep.expected_seconds) as progress:
        asyncio.run(sweep.run(progress))
    return Report(
        began=began,
        problem=sweep.problem,
        machine=machine_before | disturbances.since(),
        versions=versions(),
        conditions={
            "duration": options.duration if options.requests is None else None,
            "warm_up": options.warm_up,
            "repeat": options.repeat,
            "requests": options.requests,
            "rate": options.rate.text if options.rate else "",
            "targets": dict(options.targets),
            "started": sweep.started,
            "notes": notes,
        },
        points=results(sweep.runs),
    )


def _report(report: Report, earlier: Report | None, options: Options) -> int:
    comparison = compare(earlier, report, options.margin) if earlier else None
    problems = output.write(report, comparison, options) if report.points else []
    if report.problem:
        runs = sum(len(result.runs) for result in report.points)
        reported = f"{runs} {'run is' if runs == 1 else 'runs are'} reported" if runs else "nothing was measured"
        problems.append(f"{report.problem}; {reported}")
    problems += [line for condition in options.fail for line in condition.failures(report.points)]
    open_questions: list[str] = []
    if comparison and options.fail_below is not None:
        problems += comparison.too_slow(options.fail_below)
        open_questions = comparison.undecided(options.fail_below)
    for problem in (*problems, *open_questions):
        sys.stderr.write(f"{PROGRAM}: {problem}\n")
    if report.problem.startswith(INTERRUPTED):
        return EXIT_INTERRUPTED
    if problems:
        return EXIT_FAILURE
    return EXIT_INCONCLUSIVE if options.strict and open_questions else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
