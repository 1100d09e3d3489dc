"""`python -m worker_svc load-test`, from its words to its exit code."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from chassis import log
from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError
from worker_svc.load_test import arguments, destination, text_formats
from worker_svc.load_test.errors import LoadTestError, UsageError
from worker_svc.load_test.machine import machine, versions
from worker_svc.load_test.options import Options
from worker_svc.load_test.plan import Plan, plan
from worker_svc.load_test.progress import Progress
from worker_svc.load_test.report import Report, results
from worker_svc.load_test.report_format import Format
from worker_svc.load_test.sweep import INTERRUPTED, Sweep

EXIT_INTERRUPTED = 130
"""As a shell has it for what INT has ended."""


def main(line: Sequence[str]) -> int:
    """Measure and report; the exit code."""
    try:
        options = arguments.parse(line)
        planned = plan(options)
        for option, path in (("--output", options.output), ("--html", options.html)):
            destination.check(option, path)
        return _run(options, planned)
    except (SettingsError, UsageError) as error:
        return _refuse(error, EXIT_SETTINGS)
    except LoadTestError as error:
        return _refuse(error, EXIT_FAILURE)


def _refuse(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"{arguments.PROGRAM}: {error}\n")
    return code


def _run(options: Options, planned: Plan) -> int:
    log.configure(options.log_level, options.log_format, stream=sys.stderr)
    console = Console(stderr=True)
    for remark in planned.remarks:
        console.print(remark, soft_wrap=True, highlight=False)
    sweep = Sweep(options, list(planned.points))
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
    _write(report, options)
    if sweep.problem == INTERRUPTED:
        return _refuse(f"interrupted; {_finished(report)}", EXIT_INTERRUPTED)
    if sweep.problem:
        return _refuse(f"{sweep.problem}; {_finished(report)}", EXIT_FAILURE)
    return 0


def _write(report: Report, options: Options) -> None:
    """Raises LoadTestError when a file can't be written; what can be is."""
    if not report.results:
        return
    texts = {
        Format.TABLE: text_formats.table,
        Format.JSON: Report.to_json,
        Format.CSV: text_formats.comma_separated,
        Format.MARKDOWN: text_formats.markdown,
    }
    if options.writes_table:
        text_formats.show(report, Console(width=None if sys.stdout.isatty() else text_formats.WIDE))
    if options.output is not None or options.format is not Format.TABLE:
        destination.write(options.output, texts[options.format](report))


def _finished(report: Report) -> str:
    runs = sum(len(result.runs) for result in report.results)
    return f"{runs} finished {'run is' if runs == 1 else 'runs are'} reported" if runs else "nothing was measured"
