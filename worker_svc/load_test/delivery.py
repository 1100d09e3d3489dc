"""A report brought to wherever it is wanted."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from worker_svc.load_test import comparison, destination, html_page, text_formats
from worker_svc.load_test.comparison import Change
from worker_svc.load_test.errors import LoadTestError
from worker_svc.load_test.options import Options
from worker_svc.load_test.report import Report
from worker_svc.load_test.report_format import Format

_TEXTS: dict[Format, Callable[[Report], str]] = {
    Format.TABLE: text_formats.table,
    Format.JSON: Report.to_json,
    Format.CSV: text_formats.comma_separated,
    Format.MARKDOWN: text_formats.markdown,
}


def deliver(report: Report, changes: Sequence[Change], differences: Sequence[str], options: Options) -> list[str]:
    """Print and write all that was asked for, as far as that can be done; what could not be, one line each."""
    changed = comparison.grid(changes) if changes else None
    wanted: list[tuple[Path | None, str]] = []
    if options.writes_table:
        _print(report, Console(width=None if sys.stdout.isatty() else text_formats.WIDE))
    if options.output is not None or (not options.writes_table and options.format is not Format.TABLE):
        wanted.append((options.output, _TEXTS[options.format](report)))
    if changed:
        # Where standard output is for a machine, people are told elsewhere.
        console = Console(stderr=not options.writes_table, width=None if sys.stdout.isatty() else text_formats.WIDE)
        text_formats.show(changed, console)
        for line in differences:
            console.print(line, soft_wrap=True, highlight=False)
    if options.html is not None:
        wanted.append((options.html, html_page.page(report, changed, differences)))
    problems = []
    for path, text in wanted:
        try:
            destination.write(path, text)
        except LoadTestError as error:
            problems.append(str(error))
    return problems


def _print(report: Report, console: Console) -> None:
    text_formats.show_all(report, console)
    on_what = [f"{report.machine['cores']} cores", report.machine["processor"], report.machine["system"]]
    on_what += [f"{name} {version}" for name, version in report.versions.items()]
    console.print(report.headline, f"On {', '.join(on_what)}.", sep="\n", highlight=False)
