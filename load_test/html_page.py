"""A report as one HTML page without scripts, fonts or other files; page.html is its template."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import jinja2

from load_test.measurement import TOTAL
from load_test.report import Report, Result, Spread, Summary
from load_test.tables import Column, Grid, grids, varied

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


class Line:
    """Figures at batch sizes that a chart shows in one colour; those that are not positive are left out."""

    def __init__(
        self,
        name: str,
        number: int | None,
        results: Sequence[Result],
        figure: Callable[[Summary], Spread],
        *,
        dashed: bool = False,
    ) -> None:
        """Use the number's colour and shape; without a number, those of the baseline."""
        self.name = name
        self.style = ("baseline" if number is None else f"c{number % COLOURS}") + (" dashed" if dashed else "")
        self.shape = SHAPES[-1 if number is None else number % len(SHAPES)]
        figures = {result.point.batch_size: figure(result.summary) for result in results}
        self.dots = [(batch, figures[batch]) for batch in sorted(figures) if figures[batch].median > 0]


class Chart:
    """Lines over batch sizes on logarithmic axes."""

    def __init__(self, name: str, title: str, lines: Sequence[Line], unit: str, tip: Callable[[Spread], str]) -> None:
        """Label the vertical axis in this unit with a prefix, and each figure with its tip."""
        self.name = name
        self.title = title
        self.lines = lines
        self.tip = tip
        self._unit = unit
        dots = [dot for line in lines for dot in line.dots]
        self.batches = sorted({batch for batch, _ in dots})
        self.x = LogAxis(self.batches, LEFT, RIGHT, 1.4)
        self.y = LogAxis(
            [each for _, spread in dots for each in (spread.min, spread.max) if each > 0], BOTTOM, TOP, 1.5
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
                return f"{value / factor:g} {prefix}{self._unit}".rstrip()
        return f"{1e6 * value:g} µ{self._unit}".rstrip()

    def path(self, line: Line) -> str:
        """Return the SVG path of a line."""
        return "M" + "L".join(
            f"{self.x.position(batch)} {self.y.position(spread.median)}" for batch, spread in line.dots
        )


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
    speed = []
    latency = []
    for number, (name, members) in enumerate(_groups(results, varied(results) or [("", lambda _: "pipeline")])):
        speed.append(Line(name, number, members, lambda summary: summary.hashes_per_second))
        for quantile in ("p50", "p99"):
            figure = partial(_latency, quantile=quantile)
            latency.append(Line(f"{name}, {quantile}", number, members, figure, dashed=quantile == "p99"))
    for name, members in _groups(results, [("message", lambda result: f"{result.point.message_size:,}")]):
        speed.append(Line(f"baseline (one process, no network), {name}", None, members, _baseline, dashed=True))
    return [
        Chart("speed", "Speed over batch size, hashes/s", speed, "", _speed_tip),
        Chart(
            "latency", "Latency of a batch over its size", latency, "s", lambda spread: f"{1e3 * spread.max:,.3g} ms"
        ),
    ]


def _groups(results: Sequence[Result], columns: Sequence[Column]) -> Iterable[tuple[str, list[Result]]]:
    """Group the points that are equal in these columns, by a name."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        name = ", ".join(f"{header} {show(result)}".removeprefix("mode ").strip() for header, show in columns)
        groups.setdefault(name, []).append(result)
    return groups.items()


def _baseline(summary: Summary) -> Spread:
    return Spread(*3 * (summary.baseline_hashes_per_second,))


def _latency(summary: Summary, quantile: str) -> Spread:
    return Spread(*3 * (getattr(summary.latency_seconds[TOTAL], quantile),))


def _speed_tip(spread: Spread) -> str:
    return f"{spread.median:,.0f} hashes/s, {spread.min:,.0f} to {spread.max:,.0f}"
