"""A line chart with two logarithmic axes, as SVG that takes its colours from the page around it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from load_test.log_axis import LogAxis

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 16, 52

COLOURS = 8
"""As many as the page's style has."""

REFERENCE = -1
"""The colour of what the others are compared with."""

LABEL_ROOM = 44
"""Pixels between two labels of the horizontal axis."""

MARGIN_X, MARGIN_Y = 1.4, 1.5


@dataclass(frozen=True)
class Dot:
    """A value on a line."""

    x: int
    y: float
    tip: str
    """What it says when pointed at."""
    low: float = 0.0
    high: float = 0.0
    """The least and the most of several runs, 0 for none."""


@dataclass(frozen=True)
class Line:
    """Values that belong together."""

    name: str
    colour: int
    """Its number among the page's colours; it decides the marks' shape as well."""
    dots: Sequence[Dot]
    dashed: bool = False
    """Also has hollow marks."""


@dataclass(frozen=True)
class Chart:
    """Lines over batch sizes."""

    name: str
    """An identifier of the page."""
    title: str
    unit: str
    lines: Sequence[Line]
    show: Callable[[float], str]
    """A value of the vertical axis as text."""

    def svg(self) -> str:
        """The chart; values that are not more than 0 are left out."""
        dots = [dot for line in self.lines for dot in line.dots if dot.y > 0]
        x = LogAxis((dot.x for dot in dots), LEFT, WIDTH - RIGHT, MARGIN_X)
        heights = [height for dot in dots for height in (dot.y, dot.low, dot.high) if height > 0]
        y = LogAxis(heights, HEIGHT - BOTTOM, TOP, MARGIN_Y)
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{self.name}-title">',
            f'<title id="{self.name}-title">{escape(f"{self.title}, {self.unit}; the tables have its values")}</title>',
            *self._horizontal_lines(y),
            *self._batch_sizes(x, sorted({dot.x for dot in dots})),
            f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}">messages a batch</text>',
            *(part for line in self.lines for part in _line(line, x, y)),
            "</svg>",
        ]
        return "\n".join(parts)

    def _horizontal_lines(self, y: LogAxis) -> list[str]:
        parts = []
        for value in y.ticks():
            height = y.position(value)
            parts += [
                f'<path class="grid" d="M{LEFT} {height}H{WIDTH - RIGHT}"/>',
                f'<text class="y" x="{LEFT - 8}" y="{height + 4}">{escape(self.show(value))}</text>',
            ]
        return parts

    def _batch_sizes(self, x: LogAxis, sizes: Sequence[int]) -> list[str]:
        parts = [f'<path class="base" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>']
        last = -math.inf
        for size in sizes:
            position = x.position(size)
            parts.append(f'<path class="base" d="M{position} {HEIGHT - BOTTOM}v5"/>')
            if position - last >= LABEL_ROOM:
                parts.append(f'<text class="x" x="{position}" y="{HEIGHT - BOTTOM + 20}">{size:,}</text>')
                last = position
        return parts


def legend(lines: Sequence[Line]) -> str:
    """What each line is, with its mark."""
    entries = []
    for line in lines:
        mark = f'<path class="line" d="M1 8H27"/>{_mark(line.colour, 14, 8)}'
        entries.append(f'<li><svg class="{_style(line)}" viewBox="0 0 28 16">{mark}</svg>{escape(line.name)}</li>')
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _style(line: Line) -> str:
    colour = "loop" if line.colour == REFERENCE else f"c{line.colour % COLOURS}"
    return f"{colour} dashed" if line.dashed else colour


def _line(line: Line, x: LogAxis, y: LogAxis) -> list[str]:
    dots = sorted((dot for dot in line.dots if dot.y > 0), key=lambda dot: dot.x)
    if not dots:
        return []
    way = "L".join(f"{x.position(dot.x)} {y.position(dot.y)}" for dot in dots)
    parts = [f'<g class="{_style(line)}">', f'<path class="line" d="M{way}"/>']
    for dot in dots:
        position = x.position(dot.x)
        spread = (
            f'<path class="spread" d="M{position} {y.position(dot.low)}V{y.position(dot.high)}"/>'
            if dot.low > 0
            else ""
        )
        mark = _mark(line.colour, position, y.position(dot.y))
        parts.append(f"<g><title>{escape(dot.tip)}</title>{spread}{mark}</g>")
    return [*parts, "</g>"]


_SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
    "m-4 -4h8v8h-8z",
    "m0 -5l5 9h-10z",
    "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
    "m0 5l5 -9h-10z",
)
"""Circle, square, triangle, diamond and triangle upside down, around a point."""


def _mark(colour: int, x: float, y: float) -> str:
    return f'<path class="mark" d="M{x} {y}{_SHAPES[colour % len(_SHAPES)]}z"/>'
