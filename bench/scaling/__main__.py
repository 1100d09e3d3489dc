"""`make bench-scaling`: what limits the system at each size, and a model of its speed beside what is measured."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import parts
from bench.parts import Part, Report
from bench.scaling import full, names, paced, point, reports, sizes
from webui_svc import open_files
from worker_svc.load_test.argument_types import seconds, whole

OPEN_FILES = 16_384
"""For as many connections as there are workers, and more."""

MOST_WORKERS = 10_000
"""Redis's own default for connections."""


def _reports(arguments: argparse.Namespace, folder: Path) -> Report:
    open_files.allow(OPEN_FILES)
    loads = reports.measure(arguments.workers, arguments.seconds, folder)
    return list(reports.lines(loads)), reports.bounds(loads)


def _names(arguments: argparse.Namespace, folder: Path) -> Report:
    open_files.allow(OPEN_FILES)
    found = names.measure(arguments.addresses, arguments.seconds, folder)
    return list(names.lines(found)), []


def _paced(arguments: argparse.Namespace, folder: Path) -> Report:
    points = paced.measure(arguments.paced_rounds, 2 * arguments.seconds, folder)
    return list(point.lines(points)), point.bounds(points)


def _full(arguments: argparse.Namespace, folder: Path) -> Report:
    points, costs = full.measure(arguments.rounds, arguments.turn_seconds, folder)
    return [*point.lines(points), "", *sizes.cost_lines(costs), "", *sizes.lines(costs)], point.bounds(points)


PARTS: Mapping[str, Part] = {
    "reports": _reports,
    "names": _names,
    "paced": _paced,
    "full": _full,
}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command is told, by these words or the command line."""
    parser = argparse.ArgumentParser(prog="make bench-scaling ARGS=…", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument(
        "--workers",
        nargs="+",
        type=whole(1, MOST_WORKERS),
        default=[200, 1_000, 4_000],
        help="reports: how many report",
    )
    parser.add_argument(
        "--addresses", nargs="+", type=whole(1, 4_000), default=list(names.ADDRESSES), help="names: of one name"
    )
    parser.add_argument("--seconds", type=seconds(2, 3_600), default=4.0, help="what each is measured for")
    parser.add_argument("--rounds", type=whole(1, 1_000), default=3, help="full: runs of all that is compared")
    parser.add_argument("--paced-rounds", type=whole(1, 1_000), default=1, help="paced: the same")
    parser.add_argument("--turn-seconds", type=seconds(1, 3_600), default=2.0, help="full: what a turn is measured for")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(parts.run("bench-scaling", PARTS, arguments()))
