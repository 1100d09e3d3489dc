"""A report as one HTML page without scripts, fonts or other files; page.html is its template."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import jinja2

from load_test.measurement import TOTAL
from load_test.report import Report, Result, Spread, Summary
from load_test.tables import Column, Grid, grids, varied

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


class Line:
    """Figures by batch size that a chart shows in one colour; those that are not positive are left out."""

    def __init__(self, name: str, number: int | None, figures: Mapping[int, Spread], *, dashed: bool = False) -> None:
        """Use the number's colour and shape; without a number, those of the baseline."""
        self.name = name
        self.style = ("baseline" if number is None else f"c{number % COLOURS}") + (" dashed" if dashed else "")
        self.shape = SHAPES[-1 if number is None else number % len(SHAPES)]
        self.dots = [(batch, figures[batch]) for batch in sorted(figures) if figures[batch].median > 0]


class Chart:
    """Lines over batch sizes on logarithmic axes; all sizes are in pixels."""

    width, height = 720, 420
    # The edges of the area with the lines.
    left, right, top, bottom = 70, 704, 16, 368
    # Between two labels of the horizontal axis.
    label_space = 44

    def __init__(self, name: str, title: str, lines: Sequence[Line], unit: str, tip: Callable[[Spread], str]) -> None:
        """Label the vertical axis in this unit with a prefix, and each figure with its tip."""
        self.name = name
        self.title = title
        self.lines = lines
        self.tip = tip
        self._unit = unit
        dots = [dot for line in lines for dot in line.dots]
        heights = [height for _, spread in dots for height in (spread.min, spread.max) if height > 0]
        self.batches = sorted({batch for batch, _ in dots})
        self.x = LogAxis(self.batches, self.left, self.right, 1.4)
        self.y = LogAxis(heights, self.bottom, self.top, 1.5)

    def labelled_batches(self) -> list[int]:
        """Return the batch sizes whose labels have space."""
        labelled: list[int] = []
        for batch in self.batches:
            if not labelled or self.x.position(batch) - self.x.position(labelled[-1]) >= self.label_space:
                labelled.append(batch)
        return labelled

    def label(self, value: float) -> str:
        """Return the label of a value of the vertical axis, as `20 k` or `5 ms`."""
        for factor, prefix in ((1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m")):
            if value >= factor:
                return f"{value / factor:g} {prefix}{self._unit}".rstrip()
        return f"{1e6 * value:g} µ{self._unit}".rstrip()

    def path(self, line: Line) -> str:
        """Return the SVG path of a line."""
        positions = (f"{self.x.position(batch)} {self.y.position(spread.median)}" for batch, spread in line.dots)
        return f"M{'L'.join(positions)}"


def page(report: Report, changes: Grid | None, differences: Sequence[str]) -> str:
    """Return the page, with the changes if the report was compared."""
    source = Path(__file__).with_name("page.html").read_text()
    template = jinja2.Template(source, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    tables = [*([changes] if changes else []), *grids(report.points)]
    html: str = template.render(report=report, charts=_charts(report.points), grids=tables, differences=differences)
    return html


def _charts(results: Sequence[Result]) -> list[Chart]:
    speed = []
    latency = []
    for number, (name, members) in enumerate(_groups(results, varied(results) or [("", lambda _: "pipeline")])):
        speed.append(Line(name, number, {each.point.batch_size: each.summary.hashes_per_second for each in members}))
        for quantile in ("p50", "p99"):
            figures = _single(members, partial(_latency, quantile))
            latency.append(Line(f"{name}, {quantile}", number, figures, dashed=quantile == "p99"))
    for name, members in _groups(results, [("message", lambda result: f"{result.point.message_size:,}")]):
        figures = _single(members, lambda summary: summary.baseline_hashes_per_second)
        speed.append(Line(f"baseline (one process, no network), {name}", None, figures, dashed=True))
    return [
        Chart("speed", "Speed over batch size, hashes/s", speed, "", _speed_tip),
        Chart("latency", "Latency of a batch over its size", latency, "s", lambda each: f"{1e3 * each.max:,.3g} ms"),
    ]


def _groups(results: Sequence[Result], columns: Sequence[Column]) -> Iterable[tuple[str, list[Result]]]:
    """Group the points that are equal in these columns, by a name."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        name = ", ".join(f"{header} {show(result)}".removeprefix("mode ").strip() for header, show in columns)
        groups.setdefault(name, []).append(result)
    return groups.items()


def _single(results: Sequence[Result], figure: Callable[[Summary], float]) -> dict[int, Spread]:
    return {each.point.batch_size: Spread(*3 * (figure(each.summary),)) for each in results}


def _latency(quantile: str, summary: Summary) -> float:
    return float(getattr(summary.latency_seconds[TOTAL], quantile))


def _speed_tip(spread: Spread) -> str:
    return f"{spread.median:,.0f} hashes/s, {spread.min:,.0f} to {spread.max:,.0f}"
