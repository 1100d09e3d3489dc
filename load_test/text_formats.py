"""A report as text: tables for a terminal or for Markdown, comma-separated values for a spreadsheet."""

import csv
import io
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from load_test.grid import Grid, grids
from load_test.report import Report

WIDE = 200
"""Columns of a table that no terminal bounds."""


def table(report: Report) -> str:
    """The tables as a terminal shows them, without colours."""
    text = io.StringIO()
    show_all(report, Console(file=text, width=WIDE))
    return text.getvalue()


def show_all(report: Report, console: Console) -> None:
    """Print a report's tables."""
    for grid in grids(report.results):
        show(grid, console)


def show(grid: Grid, console: Console) -> None:
    """Print a table as wide as it is: a number that is cut says less than a line that is."""
    table = _table(grid)
    natural = console.measure(table, options=console.options.update(width=WIDE)).maximum
    console.width = max(console.width, natural)
    console.print(table, crop=False)
    console.print()


def _table(grid: Grid) -> Table:
    table = Table(
        title=grid.title,
        title_justify="left",
        title_style="bold",
        caption=grid.caption,
        box=box.SIMPLE_HEAD,
        caption_justify="left",
        pad_edge=False,
    )
    for header in grid.headers:
        table.add_column(Text(header), justify="right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*row)
    return table


def markdown(report: Report) -> str:
    """The tables as GitHub renders them."""
    parts = []
    for grid in grids(report.results):
        rows = [[header.replace("\n", " ") for header in grid.headers], ["---:"] * len(grid.headers), *grid.rows]
        parts.append(
            "\n".join(
                ["**" + grid.title + "**", "", *("| " + " | ".join(row) + " |" for row in rows), "", grid.caption]
            )
        )
    return "\n\n".join(parts) + "\n"


def comma_separated(report: Report) -> str:
    """A line a point; the names are those of the JSON, with dots between its levels."""
    rows = [_flat(asdict(each.point)) | _flat(asdict(each.summary)) for each in report.results]
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, each in value.items():
        flat |= _flat(each, f"{prefix}{name}.") if isinstance(each, dict) else {prefix + name: each}
    return flat
