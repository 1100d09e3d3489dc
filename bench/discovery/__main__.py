"""`make bench-discovery`: tables of how soon new replicas get work, what that costs, and of health under load."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from bench import parts
from bench.discovery import busy_health, fair_share, hash_cpu, rotation
from bench.discovery.way import WAYS
from bench.parts import Part, Report
from worker_svc.load_test.argument_types import whole


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


PARTS: Mapping[str, Part] = {
    "share": _share,
    "health": _health,
    "cpu": _hash_cpu,
    "renewal": _rotation,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-discovery ARGS=…", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="share: of keeping streams")
    parser.add_argument("--repeats", type=whole(1, 1_000), default=5, help="share: runs side by side")
    parser.add_argument("--health-repeats", type=whole(1, 1_000), default=3, help="health: runs side by side")
    parser.add_argument("--pairs", type=whole(2, 1_000), default=6, help="cpu: pairs of runs, one after the other")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(parts.run("bench-discovery", PARTS, _arguments()))
