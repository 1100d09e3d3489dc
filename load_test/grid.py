"""A report's tables, as text that any format can show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from load_test.latency import Quantiles
from load_test.recorder import TOTAL
from load_test.report import Result
from worker_svc.stage import HasherStage, RngStage


@dataclass(frozen=True)
class Grid:
    """Columns of text, numbers all."""

    title: str
    headers: Sequence[str]
    """Where two lines say it better, with a line's end between them."""
    rows: Sequence[Sequence[str]]
    caption: str


_SPEED = (
    "Medians of the runs. Of loop: of what one process does of the same work on one core with no network, measured "
    "beside each run. Of best: of the best point."
)
_COST = "CPU seconds a million hashes, of each process that can be seen; and what did not go well, over all runs."
_LATENCY = (
    "Medians of the runs; max is that of all. Total runs from when a batch is begun or, with a rate, from when it is "
    "due; rng and hasher from when they are asked."
)

NOTHING = "-"
"""What stands where there is no number."""

Column = tuple[str, Callable[[Result], str]]


def grids(results: Sequence[Result]) -> list[Grid]:
    """Speed, latency, cost."""
    return [
        _grid("Speed", [*lead(results), *_speed()], results, _SPEED),
        _grid("Latency of a batch, ms", [*lead(results), *_latency()], results, _LATENCY),
        _grid("Cost", [*lead(results), *_cost(results)], results, _COST),
    ]


def _grid(title: str, columns: Sequence[Column], results: Sequence[Result], caption: str) -> Grid:
    rows = [[show(each) for _, show in columns] for each in results]
    return Grid(title, [header for header, _ in columns], rows, caption)


def lead(results: Sequence[Result]) -> list[Column]:
    """What tells the points apart: the batch size, and what else is not the same for all."""
    return [*varied(results), ("batch", lambda result: f"{result.point.batch_size:,}")]


def varied(results: Sequence[Result]) -> list[Column]:
    """What beside the batch size is not the same for all points."""
    columns: list[Column] = [
        ("mode", lambda result: result.point.mode.value),
        ("message", lambda result: f"{result.point.message_size:,}"),
        ("window", lambda result: f"{result.point.window:,}"),
    ]
    return [column for column in columns if len({column[1](result) for result in results} - {NOTHING}) > 1]


def _speed() -> list[Column]:
    return [
        ("hashes/s", lambda result: f"{result.summary.hashes_per_second.median:,.0f}"),
        ("min to\nmax, %", _range),
        ("batches/s", lambda result: f"{result.summary.batches_per_second:,.1f}"),
        ("MB/s", lambda result: f"{result.summary.bytes_per_second / 1e6:,.2f}"),
        ("of\nloop", lambda result: f"{result.summary.of_loop.median:.3f}"),
        ("of\nbest", lambda result: f"{result.summary.of_best:.3f}"),
    ]


def _cost(results: Sequence[Result]) -> list[Column]:
    processes = dict.fromkeys(name for each in results for name in each.summary.cpu_seconds_per_million_hashes)
    columns: list[Column] = [(f"CPU\n{name}", _cpu(name)) for name in processes]
    if any(result.point.rate for result in results):
        columns.append(("not\nbegun", lambda result: f"{result.summary.not_begun:,}"))
    if any(result.summary.sent_again for result in results):
        columns.append(("sent\nagain", lambda result: f"{result.summary.sent_again:,}"))
    if any(result.summary.unanswered for result in results):
        columns.append(("un-\nanswered", lambda result: f"{result.summary.unanswered:,}"))
    if any(result.summary.errors for result in results):
        columns.append(("errors", errors))
    return columns


def _range(result: Result) -> str:
    speed = result.summary.hashes_per_second
    if result.summary.runs == 1 or not speed.median:
        return NOTHING
    return " to ".join(f"{100 * (end / speed.median - 1):+.1f}" for end in (speed.min, speed.max))


def _cpu(name: str) -> Callable[[Result], str]:
    def show(result: Result) -> str:
        seconds = result.summary.cpu_seconds_per_million_hashes.get(name)
        return NOTHING if seconds is None else f"{seconds:,.2f}"

    return show


def errors(result: Result) -> str:
    """Services, codes and how often, in one cell."""
    parts = [f"{name} {code} {n}" for name, codes in result.summary.errors.items() for code, n in codes.items()]
    return ", ".join(parts) or "none"


def _latency() -> list[Column]:
    def column(name: str, title: str, read: Callable[[Quantiles], float]) -> Column:
        return f"{name}\n{title}", lambda result: milliseconds(read(result.summary.latency_seconds[name]))

    in_total: list[tuple[str, Callable[[Quantiles], float]]] = [
        ("p50", lambda quantiles: quantiles.p50),
        ("p90", lambda quantiles: quantiles.p90),
        ("p99", lambda quantiles: quantiles.p99),
        ("p99.9", lambda quantiles: quantiles.p999),
        ("max", lambda quantiles: quantiles.max),
    ]
    of_steps = [each for each in in_total if each[0] in {"p50", "p99"}]
    return [column(TOTAL, *each) for each in in_total] + [
        column(name, *each) for name in (RngStage.name, HasherStage.name) for each in of_steps
    ]


def milliseconds(seconds: float) -> str:
    """As many digits as mean something."""
    value = 1e3 * seconds
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
