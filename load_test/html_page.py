"""A report as one HTML page without fonts or other files; page.html is its template, and draws the charts."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jinja2

from load_test.comparison import Change
from load_test.report import Report
from load_test.tables import Grid, grids


def page(
    report: Report, earlier: Report | None, changes: Sequence[Change], changed: Grid | None, differences: Sequence[str]
) -> str:
    """Return the page, with the changes since an earlier report if there is one."""
    source = Path(__file__).with_name("page.html").read_text()
    template = jinja2.Template(source, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data = {
        "report": report.document(),
        "earlier": earlier and earlier.document(),
        "changes": [
            {
                "point": asdict(change.now.point),
                "ratio": [ratio.value, ratio.low, ratio.high],
                "verdict": change.verdict,
            }
            for change in changes
            if (ratio := change.decisive) and ratio.low > 0 and ratio.high < math.inf
        ],
        "margin": next((ratio.margin for change in changes if (ratio := change.decisive)), 0.0),
    }
    # In a script no entity is decoded, and only a tag could end it.
    embedded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    tables = [*([changed] if changed else []), *grids(report.points)]
    html: str = template.render(report=report, data=embedded, grids=tables, differences=differences)
    return html
