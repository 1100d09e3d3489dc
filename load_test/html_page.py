"""A report as one page that needs nothing else: no scripts, no fonts, no files beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from load_test import chart, curves
from load_test.grid import Grid, grids
from load_test.report import Report


def page(report: Report, changes: Grid | None, differences: Sequence[str]) -> str:
    """The page; with what changed, if it was compared."""
    template = resources.files(__package__ or "").joinpath("page.html").read_text()
    tables = [changes] if changes else []
    return Template(template).substitute(
        began=escape(report.began),
        best=escape(report.headline),
        problem=_paragraph(f"Not complete: {report.problem}" if report.problem else "", "problem"),
        figures="\n".join(_figure(each) for each in curves.charts(report.results)),
        tables="\n".join(_table(each) for each in [*tables, *grids(report.results)]),
        differences="\n".join(_paragraph(line, "quiet") for line in differences),
        conditions="\n".join(
            _definitions(title, values)
            for title, values in (
                ("Machine", report.machine),
                ("Versions", report.versions),
                ("Conditions", report.conditions),
            )
        ),
    )


def _figure(each: chart.Chart) -> str:
    caption = escape(f"{each.title}, {each.unit}")
    return f"<figure><figcaption>{caption}</figcaption>\n{each.svg()}\n{chart.legend(each.lines)}</figure>"


def _table(grid: Grid) -> str:
    headers = "".join(f'<th scope="col">{escape(header)}</th>' for header in grid.headers)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in grid.rows)
    return (
        f'<section><h2>{escape(grid.title)}</h2>\n<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{escape(grid.title)}"><table>\n<thead><tr>{headers}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
        f'</div>\n<p class="quiet">{escape(grid.caption)}</p></section>'
    )


def _definitions(title: str, values: Mapping[str, Any]) -> str:
    pairs = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_plain(value))}</dd>"
        for name, value in values.items()
        if value not in ("", [], {})
    )
    return f"<section><h2>{escape(title)}</h2><dl>{pairs}</dl></section>"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _paragraph(text: str, kind: str) -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""
