"""`make bench-page`: what the page's server does with many browsers and many workers."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from bench import parts
from bench.page import streams, workers
from bench.parts import Part, Report
from load_test.argument_types import seconds, whole
from webui_svc import open_files
from webui_svc.events import MOST_STREAMS


def _streams(arguments: argparse.Namespace, folder: Path) -> Report:
    open_files.allow(MOST_STREAMS + 500)
    loads = streams.measure(arguments.streams, arguments.seconds, folder)
    return list(streams.lines(loads)), streams.bounds(loads)


def _workers(arguments: argparse.Namespace, folder: Path) -> Report:
    hour = workers.measure(arguments.workers, arguments.seconds, folder)
    return list(workers.lines(hour)), workers.bounds(hour)


PARTS: Mapping[str, Part] = {"streams": _streams, "workers": _workers}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-page ARGS=…", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument(
        "--streams",
        type=whole(streams.NOT_READING + 1, MOST_STREAMS),
        default=1_000,
        help="streams: how many pages are open",
    )
    parser.add_argument("--workers", type=whole(1, 1_000), default=200, help="workers: how many there are")
    parser.add_argument("--seconds", type=seconds(5, 3_600), default=40.0, help="how long to look at each")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(parts.run("bench-page", PARTS, _arguments()))
