"""Where a report goes: standard output, files, an HTML page, and Redis."""

import asyncio
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from redis.exceptions import RedisError
from rich.console import Console

from chassis.redis import errors
from chassis.redis.client import open_client
from chassis.redis.schema import MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from chassis.redis.settings import RedisAccess
from load_test import LoadTestError, UsageError, tables
from load_test.comparison import Comparison
from load_test.options import STANDARD_OUTPUT, Format, Options
from load_test.report import Report

# The time for Redis to accept a connection and respond.
PUBLISH_LIMIT_S = 5.0

_TEXTS: dict[Format, Callable[[Report], str]] = {
    Format.TABLE: tables.plain,
    Format.JSON: Report.to_json,
    Format.CSV: tables.comma_separated,
    Format.MARKDOWN: tables.markdown,
}


def check_writable(options: Options) -> None:
    """Raise UsageError if a file can't be written, before anything is measured."""
    for option, path in (("--output", options.output), ("--html", options.html)):
        if path is None or path == STANDARD_OUTPUT:
            continue
        existed = path.exists()
        try:
            path.open("ab").close()
        except OSError as error:
            raise UsageError(f"{option} {path}: it can't be written ({error.strerror})") from None
        if not existed:
            path.unlink()


def write(report: Report, comparison: Comparison | None, options: Options) -> list[str]:
    """Print, write and publish a report as the options say, and return a line for each of these that failed."""
    steps: list[tuple[object, Callable[[], None]]] = []
    if options.output is not None or (options.format is not Format.TABLE and not options.prints_table):
        text = _TEXTS[options.format](report)
        steps.append((options.output or "standard output", lambda: _write_text(options.output, text)))
    if options.html is not None:
        page = html_page(report, comparison)
        steps.append((options.html, lambda: _write_text(options.html, page)))
    if (redis := options.publish) is not None:
        steps.append(("the report in Redis", lambda: publish(report, redis)))
    steps.append(("the table", lambda: _print(report, comparison, to_output=options.prints_table)))
    problems = []
    for name, step in steps:
        try:
            step()
        except OSError as error:
            problems.append(f"{name} can't be written ({error.strerror})")
        except LoadTestError as error:
            problems.append(str(error))
    return problems


def _write_text(path: Path | None, text: str) -> None:
    if path is None or path == STANDARD_OUTPUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        path.write_text(text)


def _print(report: Report, comparison: Comparison | None, *, to_output: bool) -> None:
    """Print the tables for people; the changes go to standard error where standard output is for something else."""
    console = Console(stderr=not to_output)
    if not console.is_terminal:
        console.width = tables.WIDTH
    if to_output:
        tables.print_report(report, console)
        machine = [f"{report.machine['cores']} cores", report.machine["processor"], report.machine["system"]]
        machine += [f"{name} {version}" for name, version in report.versions.items()]
        console.print(f"On {', '.join(machine)}.", highlight=False)
    if comparison:
        tables.print_grid(tables.changes_grid(comparison), console)
        for line in comparison.differences:
            console.print(line, soft_wrap=True, highlight=False)


def html_page(report: Report, comparison: Comparison | None) -> str:
    """Return a report as a page that needs no other file. page.html is its template, and draws the charts."""
    source = Path(__file__).with_name("page.html").read_text()
    template = jinja2.Template(source, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data: dict[str, Any] = {"report": report.document(), "earlier": None, "changes": [], "margin": 0.0}
    if comparison:
        decided = [(change, change.decisive) for change in comparison.changes if change.decisive]
        changes = [
            {"point": asdict(each.now.point), "ratio": [ratio.value, ratio.low, ratio.high], "verdict": each.verdict}
            for each, ratio in decided
            if ratio.low > 0 and ratio.high < math.inf
        ]
        data |= {"earlier": comparison.earlier.document(), "changes": changes, "margin": comparison.margin}
    # In a script no entity is decoded, and only a tag could end it.
    embedded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    grids = [*([tables.changes_grid(comparison)] if comparison else []), *tables.grids(report.points)]
    differences = comparison.differences if comparison else ()
    html: str = template.render(report=report, data=embedded, grids=grids, differences=differences)
    return html


def publish(report: Report, redis: RedisAccess) -> None:
    """Put a report before the others in Redis, and drop the oldest. Raises LoadTestError if that fails."""
    text = json.dumps(report.document(runs=False), separators=(",", ":"))
    if (size := len(text.encode())) > MAX_LOAD_TEST_BYTES:
        raise LoadTestError(
            f"--publish: a report of {size} bytes is not allowed: it must be at most {MAX_LOAD_TEST_BYTES} bytes; "
            f"measure fewer than these {len(report.points)} points"
        )
    try:
        asyncio.run(_publish(text, redis))
    except TimeoutError:
        raise LoadTestError(f"--publish: no response from Redis within {PUBLISH_LIMIT_S:g} s") from None
    except (RedisError, OSError) as error:
        raise LoadTestError(f"--publish: Redis did not take the report ({errors.describe(error)})") from None


async def _publish(text: str, redis: RedisAccess) -> None:
    async with (
        asyncio.timeout(PUBLISH_LIMIT_S),
        open_client(redis) as client,
        client.pipeline(transaction=True) as transaction,
    ):
        transaction.lpush(redis.keys.load_tests, text)
        transaction.ltrim(redis.keys.load_tests, 0, MAX_LOAD_TESTS - 1)
        await transaction.execute()
