"""A report's tables, and their form as text: for a terminal, for Markdown, and as comma-separated values."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from load_test.comparison import Change
from load_test.measurement import TOTAL
from load_test.options import SERVICES
from load_test.report import Report, Result

# The columns of a console without a terminal.
WIDTH = 200

# The text of a cell without a number.
NOTHING = "-"

_SPEED = (
    "Medians of the runs. vs. baseline: over the speed of one process that does the same work on one core with no "
    "network, measured beside each run. vs. best: over the speed of the best point."
)
_COST = "CPU seconds per million hashes, of each process on this machine; and failures, over all runs."
_LATENCY = (
    "Medians of the runs; max is that of all. The total runs from when a batch is begun or, with a rate, from when it "
    "is due; rng and hasher from when the batch is submitted to that stage."
)
_CHANGES = (
    "Ratios now over earlier, with the 95 % interval of Welch's t-test; (?): fewer than three runs. No change: the "
    "interval is within {:.3f} to {:.3f} (an equivalence test, Schuirmann 1987). Inconclusive (+N runs): about N more "
    "in each report would decide. Up to one in twenty points that did not change is expected to seem faster or slower."
)

Column = tuple[str, Callable[[Result], str]]


@dataclass(frozen=True)
class Grid:
    """A table of numbers as text; a header may have two lines."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


def grids(results: Sequence[Result]) -> list[Grid]:
    """Return the tables of speed, latency and cost."""
    return [
        _grid("Speed", _SPEED_COLUMNS, results, _SPEED),
        _grid("Latency of a batch, ms", _latency(), results, _LATENCY),
        _grid("Cost", _cost(results), results, _COST),
    ]


def _grid(title: str, columns: Sequence[Column], results: Sequence[Result], caption: str) -> Grid:
    headers, shows = zip(*_lead(results), *columns, strict=True)
    return Grid(title, headers, [[show(each) for show in shows] for each in results], caption)


def changes_grid(changes: Sequence[Change], margin: float) -> Grid:
    """Return the table of the changes since an earlier report, which were judged with this margin."""
    lead = _lead([change.now for change in changes])
    headers = ["earlier\nhashes/s", "now\nhashes/s", "speed", "speed vs.\nbaseline", "p99 of\na batch", "verdict"]
    rows = [
        [
            *(show(change.now) for _, show in lead),
            *(f"{result.summary.hashes_per_second.median:,.0f}" for result in (change.earlier, change.now)),
            *(str(each or NOTHING) for each in (change.speed, change.vs_baseline, change.p99)),
            change.conclusion,
        ]
        for change in changes
    ]
    return Grid(
        "Changes", [*(header for header, _ in lead), *headers], rows, _CHANGES.format(1 - margin, 1 / (1 - margin))
    )


def varied(results: Sequence[Result]) -> list[Column]:
    """Return the columns, beside the batch size, that are not the same for all points."""
    columns: list[Column] = [
        ("mode", lambda result: result.point.mode.value),
        ("message", lambda result: f"{result.point.message_size:,}"),
        ("window", lambda result: f"{result.point.window:,}"),
    ]
    return [column for column in columns if len({column[1](result) for result in results}) > 1]


def _lead(results: Sequence[Result]) -> list[Column]:
    return [*varied(results), ("batch", lambda result: f"{result.point.batch_size:,}")]


def _min_to_max(result: Result) -> str:
    speed = result.summary.hashes_per_second
    if result.summary.runs == 1 or not speed.median:
        return NOTHING
    return " to ".join(f"{100 * (end / speed.median - 1):+.1f}" for end in (speed.min, speed.max))


_SPEED_COLUMNS: list[Column] = [
    ("hashes/s", lambda result: f"{result.summary.hashes_per_second.median:,.0f}"),
    ("min to\nmax, %", _min_to_max),
    ("batches/s", lambda result: f"{result.summary.batches_per_second:,.1f}"),
    ("batches per\nmessage", lambda result: f"{result.summary.batches_per_message:,.1f}"),
    ("MB/s", lambda result: f"{result.summary.bytes_per_second / 1e6:,.2f}"),
    ("vs.\nbaseline", lambda result: f"{result.summary.vs_baseline.median:.3f}"),
    ("vs.\nbest", lambda result: f"{result.summary.vs_best:.3f}"),
]


def _latency() -> list[Column]:
    quantiles = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "max": "max"}
    shown = [(TOTAL, *each) for each in quantiles.items()]
    shown += [(name, quantile, quantile) for name in SERVICES for quantile in ("p50", "p99")]
    return [(f"{name}\n{title}", partial(_milliseconds, name, quantile)) for name, title, quantile in shown]


def _milliseconds(name: str, quantile: str, result: Result) -> str:
    milliseconds = 1e3 * getattr(result.summary.latency_seconds[name], quantile)
    return f"{milliseconds:,.2f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def _cost(results: Sequence[Result]) -> list[Column]:
    summaries = [each.summary for each in results]
    processes = dict.fromkeys(name for each in summaries for name in each.cpu_seconds_per_million_hashes)
    columns: list[Column] = [(f"CPU\n{name}", partial(_cpu_seconds, name)) for name in processes]
    if any(result.point.rate for result in results):
        columns.append(("not\nbegun", lambda result: f"{result.summary.not_begun:,}"))
    if any(each.resent for each in summaries):
        columns.append(("resent", lambda result: f"{result.summary.resent:,}"))
    if any(each.unanswered for each in summaries):
        columns.append(("un-\nanswered", lambda result: f"{result.summary.unanswered:,}"))
    return [*columns, ("errors", _errors)] if any(each.errors for each in summaries) else columns


def _cpu_seconds(name: str, result: Result) -> str:
    seconds = result.summary.cpu_seconds_per_million_hashes.get(name)
    return NOTHING if seconds is None else f"{seconds:,.2f}"


def _errors(result: Result) -> str:
    parts = [f"{name} {code} {n}" for name, codes in result.summary.errors.items() for code, n in codes.items()]
    return ", ".join(parts) or "none"


def plain(report: Report) -> str:
    """Return the tables as a terminal shows them, without colours."""
    text = io.StringIO()
    console = Console(file=text, width=WIDTH)
    for grid in grids(report.points):
        print_grid(grid, console)
    return text.getvalue()


def print_grid(grid: Grid, console: Console) -> None:
    """Print a table in its natural width: a terminal may wrap its lines, but no number is cut."""
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
    natural = console.measure(table, options=console.options.update(width=WIDTH)).maximum
    console.width = max(console.width, natural)
    console.print(table, crop=False)
    console.print()


def markdown(report: Report) -> str:
    """Return the tables as GitHub renders them."""
    parts = []
    for grid in grids(report.points):
        rows = [[header.replace("\n", " ") for header in grid.headers], ["---:"] * len(grid.headers), *grid.rows]
        lines = ("| " + " | ".join(row) + " |" for row in rows)
        parts.append("\n".join([f"**{grid.title}**", "", *lines, "", grid.caption]))
    return "\n\n".join(parts) + "\n"


def comma_separated(report: Report) -> str:
    """Return a line per point; the columns have the names of the JSON, with dots between its levels."""
    rows = [_flat(asdict(each.point)) | _flat(asdict(each.summary)) for each in report.points]
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, each in value.items():
        flat |= _flat(each, f"{prefix}{name}.") if isinstance(each, dict) else {prefix + name: each}
    return flat
