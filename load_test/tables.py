"""A report's tables, and their form as text: for a terminal, for Markdown, and as comma-separated values."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from load_test.comparison import Comparison
from load_test.measurement import QUANTILES, SERVICES, TOTAL
from load_test.report import Report, Result, milliseconds

# The columns of a console without a terminal.
WIDTH = 200

# The text of a cell without a number.
NOTHING = "-"

# Above the quantiles of how late batches were sent.
_LATE = "sent late"

_SPEED = (
    "Medians of the runs. vs. baseline: 1 is the same work in one process without a network, measured beside each "
    "run. vs. best: 1 is the fastest point. errors: broken streams, failed calls, and batches without a response."
)
_COST = "CPU seconds per million hashes, of each process on this machine; and what failed, over all runs."
_LATENCY = (
    "Medians of the runs; max: of all. total: from when a batch is begun or, with a rate, from when it is due; rng and "
    "hasher: from when the batch is submitted to that stage. sent late: from when it is due until it is sent."
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
    # The first columns, which name a point.
    lead: int
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


def grids(results: Sequence[Result]) -> list[Grid]:
    """Return the tables of speed, latency and cost."""
    return [
        _grid("Speed", _SPEED_COLUMNS, results, _SPEED),
        _grid("Latency of a batch, ms", _latency_columns(results), results, _LATENCY),
        _grid("Cost", _cost_columns(results), results, _COST),
    ]


def _grid(title: str, columns: Sequence[Column], results: Sequence[Result], caption: str) -> Grid:
    lead = _lead(results)
    headers, shows = zip(*lead, *columns, strict=True)
    return Grid(title, len(lead), headers, [[show(each) for show in shows] for each in results], caption)


def changes_grid(comparison: Comparison) -> Grid:
    """Return the table of the changes since an earlier report."""
    lead = _lead([change.now for change in comparison.changes])
    headers = ["earlier\nhashes/s", "now\nhashes/s", "speed", "speed vs.\nbaseline", "p99 of\na batch", "verdict"]
    rows = [
        [
            *(show(change.now) for _, show in lead),
            *(f"{result.summary.hashes_per_second.median:,.0f}" for result in (change.earlier, change.now)),
            *(str(each or NOTHING) for each in (change.speed, change.vs_baseline, change.p99)),
            change.conclusion,
        ]
        for change in comparison.changes
    ]
    caption = _CHANGES.format(1 - comparison.margin, 1 / (1 - comparison.margin))
    return Grid("Changes", len(lead), [*(header for header, _ in lead), *headers], rows, caption)


def _lead(results: Sequence[Result]) -> list[Column]:
    """Return the columns that name a point: the batch size, and before it what is not the same for all points."""
    columns: list[Column] = [
        ("mode", lambda result: result.point.mode.value),
        ("message", lambda result: f"{result.point.message_size:,}"),
        ("window", lambda result: f"{result.point.window:,}"),
    ]
    varied = [column for column in columns if len({column[1](result) for result in results}) > 1]
    return [*varied, ("batch", lambda result: f"{result.point.batch_size:,}")]


def _figure(header: str, field: str, digits: int, factor: float = 1) -> Column:
    """Return a column of a field of the summary, times a factor."""
    value = attrgetter(field)
    return header, lambda result: f"{value(result.summary) * factor:,.{digits}f}"


_SPEED_COLUMNS: list[Column] = [
    _figure("hashes/s", "hashes_per_second.median", 0),
    (
        "min to\nmax, %",
        lambda result: (result.summary.runs > 1 and result.summary.hashes_per_second.percent) or NOTHING,
    ),
    _figure("batches/s", "batches_per_second", 1),
    _figure("batches per\nmessage", "batches_per_message", 1),
    _figure("MB/s", "bytes_per_second", 2, 1e-6),
    _figure("vs.\nbaseline", "vs_baseline.median", 3),
    _figure("vs.\nbest", "vs_best", 3),
    ("errors", lambda result: f"{result.errors:,}"),
]


def _latency_columns(results: Sequence[Result]) -> list[Column]:
    columns = [_latency(TOTAL, quantile) for quantile in QUANTILES]
    columns += [_latency(stage, quantile) for stage in SERVICES for quantile in ("p50", "p99")]
    if any(each.summary.lateness_seconds for each in results):
        columns += [_latency(_LATE, quantile) for quantile in ("p50", "p99.9")]
    return columns


def _latency(name: str, quantile: str) -> Column:
    def show(result: Result) -> str:
        summary = result.summary
        latency = summary.lateness_seconds if name == _LATE else summary.latency_seconds[name]
        return milliseconds(getattr(latency, QUANTILES[quantile])) if latency else NOTHING

    return f"{name}\n{quantile}", show


def _cost_columns(results: Sequence[Result]) -> list[Column]:
    summaries = [each.summary for each in results]
    columns = [
        _cpu(name) for name in dict.fromkeys(name for each in summaries for name in each.cpu_seconds_per_million_hashes)
    ]
    if any(result.point.rate for result in results):
        columns.append(_figure("not\nbegun", "not_begun", 0))
    if any(each.resent for each in summaries):
        columns.append(_figure("resent", "resent", 0))
    if any(each.unanswered for each in summaries):
        columns.append(_figure("un-\nanswered", "unanswered", 0))
    return [*columns, ("errors", _errors)]


def _cpu(name: str) -> Column:
    def show(result: Result) -> str:
        seconds = result.summary.cpu_seconds_per_million_hashes.get(name)
        return NOTHING if seconds is None else f"{seconds:,.2f}"

    return f"CPU\n{name}", show


def _errors(result: Result) -> str:
    parts = [f"{name} {code} {n}" for name, codes in result.summary.errors.items() for code, n in codes.items()]
    return ", ".join(parts) or "0"


def plain(report: Report) -> str:
    """Return the report as a terminal shows it, without colours."""
    text = io.StringIO()
    print_report(report, Console(file=text, width=WIDTH))
    return text.getvalue()


def print_report(report: Report, console: Console) -> None:
    """Print the summary, the histogram of the fastest point, and the tables."""
    summary = Table.grid("", "", padding=(0, 2))
    for name, line in report.summary.items():
        summary.add_row(Text(name, style="bold"), Text(line))
    console.print(summary, *histogram(report.best, console.width), sep="\n", highlight=False)
    console.print()
    for grid in grids(report.points):
        print_grid(grid, console)


def histogram(result: Result, width: int) -> list[str]:
    """Return the latencies of a point's batches as bars, each with its upper bound in front."""
    counts = Counter[float]()
    for run in result.runs:
        counts.update(dict(run.histogram))
    if not counts:
        return []
    most, longest = max(counts.values()), max(min(width - 30, 60), 5)
    bars = {bound: "█" * round(longest * n / most) or "▏" * bool(n) for bound, n in counts.items()}
    lines = [f"{milliseconds(bound):>8} ms {bars[bound]} {n:,}" for bound, n in sorted(counts.items())]
    return ["", f"Batches by latency up to, with {result.point}", *lines]


def print_grid(grid: Grid, console: Console) -> None:
    """Print a table, in several parts of its columns where it is wider than the console."""
    columns = list(zip(grid.headers, *grid.rows, strict=True))
    lead, parts = columns[: grid.lead], [columns[: grid.lead + 1]]
    for column in columns[grid.lead + 1 :]:
        if (
            console.measure(_table([*parts[-1], column]), options=console.options.update(width=10_000)).maximum
            <= console.width
        ):
            parts[-1].append(column)
        else:
            parts.append([*lead, column])
    console.print(Text(grid.title, style="bold"))
    for part in parts:
        console.print(_table(part))
    console.print(Text(grid.caption, style="dim"))
    console.print()


def _table(columns: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header, *_ in columns:
        table.add_column(Text(header), justify="right", overflow="fold")
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*row)
    return table


def markdown(report: Report) -> str:
    """Return the summary and the tables as GitHub renders them."""
    parts = ["\n".join(f"- **{name}**: {line}" for name, line in report.summary.items())]
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
