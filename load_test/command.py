"""`python -m load_test`, from its words to its exit code."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from chassis import foreign_log, log
from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError
from load_test import arguments, comparison, delivery, destination
from load_test.errors import UsageError
from load_test.machine import machine, versions
from load_test.options import Options
from load_test.plan import Plan, plan
from load_test.progress import Progress
from load_test.report import Report, load, results
from load_test.sweep import INTERRUPTED, Sweep

EXIT_INTERRUPTED = 130
"""As a shell has it for what INT has ended."""


def main(line: Sequence[str]) -> int:
    """Measure and report; the exit code."""
    try:
        options = arguments.parse(line)
        planned = plan(options)
        for option, path in (("--output", options.output), ("--html", options.html)):
            destination.check(option, path)
        earlier = _earlier(options, planned)
        with foreign_log.capture(options.log_format, python_too=False):
            return _run(options, planned, earlier)
    except (SettingsError, UsageError) as error:
        return _refuse(error, EXIT_SETTINGS)


def _refuse(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"{arguments.PROGRAM}: {error}\n")
    return code


def _run(options: Options, planned: Plan, earlier: Report | None) -> int:
    log.configure(options.log_level, options.log_format, stream=sys.stderr)
    console = Console(stderr=True)
    for remark in planned.remarks:
        console.print(remark, soft_wrap=True, highlight=False)
    sweep = Sweep(options, planned.points)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    on_what = machine()
    with Progress(console, len(planned.points) * options.repeat, sweep.seconds_a_run) as progress:
        asyncio.run(sweep.run(progress))
    report = Report(
        began=began,
        problem=sweep.problem,
        machine=on_what,
        versions=versions(),
        conditions={
            "duration": options.duration,
            "warm_up": options.warm_up,
            "repeat": options.repeat,
            "rate": options.rate.text if options.rate else "",
            "targets": dict(options.targets),
            "started": sweep.started,
            "remarks": list(planned.remarks),
        },
        results=results(sweep.runs),
    )
    changes = comparison.compare(earlier, report) if earlier else []
    differences = list(comparison.differences(earlier, report)) if earlier else []
    problems = delivery.deliver(report, changes, differences, options) if report.results else []
    if sweep.problem:
        problems.append(f"{sweep.problem}; {_finished(report)}")
    if options.fail_below is not None:
        problems += comparison.too_slow(changes, options.fail_below)
    for problem in problems:
        _refuse(problem, EXIT_FAILURE)
    if sweep.problem == INTERRUPTED:
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if problems else 0


def _earlier(options: Options, planned: Plan) -> Report | None:
    if options.compare is None:
        return None
    earlier = load(options.compare)
    if not {result.point for result in earlier.results} & set(planned.points):
        raise UsageError(f"--compare {options.compare}: none of the points to measure is in it")
    return earlier


def _finished(report: Report) -> str:
    runs = sum(len(result.runs) for result in report.results)
    return f"{runs} finished {'run is' if runs == 1 else 'runs are'} reported" if runs else "nothing was measured"
