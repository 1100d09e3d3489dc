"""`make bench-discovery`: tables of how soon new replicas get work, what that costs, and of health under load."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.discovery import busy_health, fair_share, hash_cpu, rotation
from bench.discovery.bound import Bound
from bench.discovery.way import WAYS
from bench.processes import BenchError
from chassis import log
from chassis.settings import LogFormat, LogLevel

Report = tuple[list[str], list[Bound]]
"""A table's lines, and the bounds on what it shows."""


def _share(arguments: argparse.Namespace, folder: Path) -> Report:
    outcomes = fair_share.measure(arguments.ways, arguments.repeats, folder)
    return list(fair_share.lines(outcomes)), fair_share.bounds(outcomes)


def _health(arguments: argparse.Namespace, folder: Path) -> Report:
    return list(busy_health.lines(busy_health.measure(arguments.health_repeats, folder))), []


def _hash_cpu(arguments: argparse.Namespace, folder: Path) -> Report:
    results = hash_cpu.measure(arguments.pairs, folder)
    return list(hash_cpu.lines(results)), hash_cpu.bounds(results)


def _rotation(_: argparse.Namespace, folder: Path) -> Report:
    costs = rotation.measure(folder)
    return list(rotation.lines(costs)), rotation.bounds(costs)


PARTS: dict[str, Callable[[argparse.Namespace, Path], Report]] = {
    "share": _share,
    "health": _health,
    "cpu": _hash_cpu,
    "renewal": _rotation,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-discovery ARGS=…", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="share: of keeping streams")
    parser.add_argument("--repeats", type=int, default=5, help="share: runs side by side")
    parser.add_argument("--health-repeats", type=int, default=3, help="health: runs side by side")
    parser.add_argument("--pairs", type=int, default=6, help="cpu: pairs of runs, one after the other")
    return parser.parse_args()


def main() -> int:
    """Print a table for each part, as it is done; 1 when a bound is not held for certain, or a service failed."""
    arguments = _arguments()
    log.configure(LogLevel.ERROR, LogFormat.CONSOLE)
    began = time.monotonic()
    bounds: list[Bound] = []
    try:
        for part in arguments.parts:
            with tempfile.TemporaryDirectory() as folder:
                lines, held_to = PARTS[part](arguments, Path(folder))
            print(*lines, *held_to, sep="\n", end="\n\n", flush=True)
            bounds += held_to
    except BenchError as error:
        sys.stderr.write(f"\nbench-discovery: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(bound.held for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
