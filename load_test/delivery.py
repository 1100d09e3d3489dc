"""A report brought to wherever it is wanted."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from load_test import comparison, destination, html_page, publication, text_formats
from load_test.comparison import Change
from load_test.errors import LoadTestError
from load_test.grid import Grid
from load_test.options import Options
from load_test.report import Report
from load_test.report_format import Format

_TEXTS: dict[Format, Callable[[Report], str]] = {
    Format.TABLE: text_formats.table,
    Format.JSON: Report.to_json,
    Format.CSV: text_formats.comma_separated,
    Format.MARKDOWN: text_formats.markdown,
}


def deliver(report: Report, changes: Sequence[Change], differences: Sequence[str], options: Options) -> list[str]:
    """Print, write and publish all that was asked for, as far as that can be done; what could not be, one line each."""
    changed = comparison.grid(changes) if changes else None
    wanted: list[tuple[Path | None, str]] = []
    if options.output is not None or (options.format is not Format.TABLE and not options.writes_table):
        wanted.append((options.output, _TEXTS[options.format](report)))
    if options.html is not None:
        wanted.append((options.html, html_page.page(report, changed, differences)))
    problems = []
    for path, text in wanted:
        try:
            destination.write(path, text)
        except LoadTestError as error:
            problems.append(str(error))
    if options.publish is not None:
        try:
            publication.publish(report, options.publish)
        except LoadTestError as error:
            problems.append(str(error))
    try:
        _print(report, changed, differences, to_output=options.writes_table)
    except OSError as error:
        problems.append(f"the table can't be printed ({error.strerror})")
    return problems


def _print(report: Report, changes: Grid | None, differences: Sequence[str], *, to_output: bool) -> None:
    """The tables for people; what changed also where standard output is for something else."""
    console = Console(stderr=not to_output)
    if not console.is_terminal:
        console.width = text_formats.WIDE
    if to_output:
        text_formats.show_all(report, console)
        on_what = [f"{report.machine['cores']} cores", report.machine["processor"], report.machine["system"]]
        on_what += [f"{name} {version}" for name, version in report.versions.items()]
        console.print(report.headline, f"On {', '.join(on_what)}.", sep="\n", highlight=False)
    if changes:
        text_formats.show(changes, console)
        for line in differences:
            console.print(line, soft_wrap=True, highlight=False)
