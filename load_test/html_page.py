"""A report as one HTML page without scripts, fonts or other files; page.html is its template."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from load_test.measurement import TOTAL
from load_test.report import Report, Result
from load_test.tables import Grid, grids, varied

WIDTH, HEIGHT = 720, 420

# The edges of the area with the curves, in pixels.
LEFT, RIGHT, TOP, BOTTOM = 70, 704, 16, 368

# The space between two labels of the horizontal axis, in pixels.
LABEL_SPACE = 44

# The number of colours in page.html.
COLOURS = 8

# A circle, a square, a triangle, a diamond and an inverted triangle, around a point.
SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "m-4 -4h8v8h-8z",
    "m0 -5l5 9h-10z",
    "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
    "m0 5l5 -9h-10z",
)


class LogAxis:
    """A logarithmic axis from one pixel to another that holds all values, with a factor of margin on both sides."""

    def __init__(self, values: Iterable[float], begin: int, end: int, margin: float) -> None:
        known = list(values) or [1.0]
        self._low, self._high = min(known) / margin, max(known) * margin
        self._begin = begin
        self._length = end - begin

    def position(self, value: float) -> float:
        """Return the pixel of a value."""
        part = math.log(value / self._low) / math.log(self._high / self._low)
        return round(self._begin + part * self._length, 1)

    def ticks(self) -> list[float]:
        """Return round values; few decades have one at 2 and 5, too."""
        factors = (1, 2, 5) if self._high / self._low < 300 else (1,)
        powers = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        values = [factor * 10.0**power for power in powers for factor in factors]
        return [value for value in values if self._low <= value <= self._high]


@dataclass(frozen=True)
class Dot:
    """A value at a batch size, with its tooltip, and the extent of several runs, 0 for none."""

    batch: int
    value: float
    tip: str
    low: float = 0.0
    high: float = 0.0


class Line:
    """The values that a chart shows in one colour, at their batch sizes; those that are not positive are left out."""

    def __init__(self, name: str, number: int | None, dots: Iterable[Dot], *, dashed: bool = False) -> None:
        """Use the number's colour and shape; without a number, those of the baseline."""
        self.name = name
        self.style = ("baseline" if number is None else f"c{number % COLOURS}") + (" dashed" if dashed else "")
        self.shape = SHAPES[-1 if number is None else number % len(SHAPES)]
        self.dots = sorted((dot for dot in dots if dot.value > 0), key=lambda dot: dot.batch)


class Chart:
    """Lines over batch sizes on logarithmic axes."""

    def __init__(self, name: str, title: str, lines: Sequence[Line], *, unit: str) -> None:
        """Label the vertical axis in this unit with a prefix."""
        self.name = name
        self.title = title
        self.lines = lines
        self.unit = unit
        dots = [dot for line in lines for dot in line.dots]
        self.batches = sorted({dot.batch for dot in dots})
        self.x = LogAxis(self.batches, LEFT, RIGHT, 1.4)
        self.y = LogAxis(
            [each for dot in dots for each in (dot.value, dot.low, dot.high) if each > 0], BOTTOM, TOP, 1.5
        )

    def labelled_batches(self) -> list[int]:
        """Return the batch sizes whose labels have space."""
        labelled: list[int] = []
        for batch in self.batches:
            if not labelled or self.x.position(batch) - self.x.position(labelled[-1]) >= LABEL_SPACE:
                labelled.append(batch)
        return labelled

    def label(self, value: float) -> str:
        """Return the label of a value of the vertical axis, as `20 k` or `5 ms`."""
        for factor, prefix in ((1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m")):
            if value >= factor:
                return f"{value / factor:g} {prefix}{self.unit}".rstrip()
        return f"{1e6 * value:g} µ{self.unit}".rstrip()

    def path(self, line: Line) -> str:
        """Return the SVG path of a line."""
        return "M" + "L".join(f"{self.x.position(dot.batch)} {self.y.position(dot.value)}" for dot in line.dots)


def page(report: Report, changes: Grid | None, differences: Sequence[str]) -> str:
    """Return the page, with the changes if the report was compared."""
    source = Path(__file__).with_name("page.html").read_text()
    template = jinja2.Template(source, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html: str = template.render(
        report=report,
        charts=_charts(report.points),
        grids=[*([changes] if changes else []), *grids(report.points)],
        differences=differences,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
    )
    return html


def _charts(results: Sequence[Result]) -> list[Chart]:
    series = list(enumerate(_series(results).items()))
    speed = [Line(name, number, map(_speed, members)) for number, (name, members) in series]
    latency = [
        Line(f"{name}, {quantile}", number, [_latency(each, quantile) for each in members], dashed=quantile == "p99")
        for number, (name, members) in series
        for quantile in ("p50", "p99")
    ]
    return [
        Chart("speed", "Speed over batch size, hashes/s", [*speed, *_baselines(results)], unit=""),
        Chart("latency", "Latency of a batch over its size, p50 and p99", latency, unit="s"),
    ]


def _series(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Group the points that differ only in the batch size, by a name."""
    columns = varied(results)
    series: dict[str, list[Result]] = {}
    for result in results:
        name = ", ".join(show(result) if header == "mode" else f"{header} {show(result)}" for header, show in columns)
        series.setdefault(name or "pipeline", []).append(result)
    return series


def _speed(result: Result) -> Dot:
    speed = result.summary.hashes_per_second
    tip = f"batch {result.point.batch_size:,}: {speed.median:,.0f} hashes/s, {speed.min:,.0f} to {speed.max:,.0f}"
    extent = (speed.min, speed.max) if result.summary.runs > 1 else ()
    return Dot(result.point.batch_size, speed.median, tip, *extent)


def _baselines(results: Sequence[Result]) -> list[Line]:
    """Return the baseline of each message size."""
    sizes = sorted({each.point.message_size for each in results})
    lines = []
    for size in sizes:
        name = "baseline: one process, no network" + (f", message {size:,}" if len(sizes) > 1 else "")
        speeds = {
            each.point.batch_size: each.summary.baseline_hashes_per_second
            for each in results
            if each.point.message_size == size
        }
        dots = [
            Dot(batch, speed, f"baseline, batch {batch:,}: {speed:,.0f} hashes/s") for batch, speed in speeds.items()
        ]
        lines.append(Line(name, None, dots, dashed=True))
    return lines


def _latency(result: Result, quantile: str) -> Dot:
    value: float = getattr(result.summary.latency_seconds[TOTAL], quantile)
    return Dot(result.point.batch_size, value, f"batch {result.point.batch_size:,}: {quantile} {1e3 * value:,.3g} ms")
