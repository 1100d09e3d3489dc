"""`make bench`: what the pipeline over gRPC does, beside what it could, or beside an earlier commit, in one run."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from bench import against, calls, echo, hashers, memory, metrics, parts, sweep, tls, traces, tuning
from bench.parts import Part, Report
from chassis.limits import MAX_BATCH_MESSAGES
from load_test.argument_types import seconds, setting, whole

BATCH_SIZES = (1, 16, 256, 4_096, 16_384, MAX_BATCH_MESSAGES)


def _sweep(arguments: argparse.Namespace, folder: Path) -> Report:
    rounds = sweep.measure(arguments.batch_sizes, arguments.repeats, arguments.seconds, folder)
    return list(sweep.lines(rounds)), sweep.bounds(rounds)


def _echo(arguments: argparse.Namespace, folder: Path) -> Report:
    runs = echo.measure(arguments.repeats, arguments.seconds, folder)
    return list(echo.lines(runs)), echo.bounds(runs)


def _calls(arguments: argparse.Namespace, folder: Path) -> Report:
    runs = calls.measure(arguments.repeats, arguments.seconds, folder)
    return list(calls.lines(runs)), calls.bounds(runs)


def _hashers(arguments: argparse.Namespace, folder: Path) -> Report:
    runs = hashers.measure(arguments.repeats, arguments.seconds, folder)
    return list(hashers.lines(runs)), hashers.bounds(runs)


def _tuning(arguments: argparse.Namespace, folder: Path) -> Report:
    found = tuning.measure(arguments.tuning_repeats, arguments.tuning_seconds, folder)
    return list(tuning.lines(found)), tuning.bounds(found)


def _memory(arguments: argparse.Namespace, folder: Path) -> Report:
    most = memory.measure(arguments.memory_seconds, folder)
    return list(memory.lines(most)), memory.bounds(most)


def _traces(arguments: argparse.Namespace, folder: Path) -> Report:
    found = traces.measure(arguments.pairs, arguments.pair_seconds, folder)
    return list(found.lines("with 1 % of the batches traced")), found.at_most(traces.MOST_TIMES)


def _tls(arguments: argparse.Namespace, folder: Path) -> Report:
    found = tls.measure(arguments.pairs, arguments.pair_seconds, folder)
    return list(found.lines("with every stream encrypted")), found.speed_at_least(tls.LEAST_OF_PLAIN)


def _metrics(arguments: argparse.Namespace, folder: Path) -> Report:
    found = metrics.measure(arguments.pairs, arguments.pair_seconds, folder)
    return list(found.lines("with everything counted for metrics")), found.at_most(metrics.MOST_TIMES)


PARTS: Mapping[str, Part] = {
    "sweep": _sweep,
    "echo": _echo,
    "calls": _calls,
    "hashers": _hashers,
    "tuning": _tuning,
    "memory": _memory,
    "metrics": _metrics,
    "traces": _traces,
    "tls": _tls,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit, which is built below build/")
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help=f"what to measure: {', '.join(PARTS)}; with --against, {', '.join(against.PARTS)}",
    )
    parser.add_argument(
        "--batch-sizes",
        type=setting("batch_size", "messages a batch"),
        default=BATCH_SIZES,
        help="sweep, hash: 1,16,256 …",
    )
    parser.add_argument("--repeats", type=whole(1, 1_000), default=3, help="runs of all that is compared")
    parser.add_argument("--seconds", type=seconds(1, 3_600), default=1.5, help="what a run is measured for")
    parser.add_argument("--tuning-repeats", type=whole(1, 1_000), default=1, help="tuning: workers that look")
    parser.add_argument("--tuning-seconds", type=seconds(15, 3_600), default=40.0, help="tuning: how long each")
    parser.add_argument("--memory-seconds", type=seconds(1, 3_600), default=6.0, help="memory: how long to look")
    parser.add_argument(
        "--pairs",
        type=whole(1, 1_000),
        default=6,
        help="metrics, traces, tls: systems with and without; --against: one of each tree, six or more for a verdict",
    )
    parser.add_argument(
        "--pair-seconds", type=seconds(1, 3_600), default=10.0, help="metrics, traces, tls: how long each"
    )
    parser.add_argument(
        "--classic-seconds", type=seconds(1, 3_600), default=60.0, help="classic: of all pairs together"
    )
    parser.add_argument(
        "--replicas", type=whole(1, 64), default=1, help="hash and classic, of rng and of hasher each; not on macOS"
    )
    arguments = parser.parse_args()
    known = _parts(arguments)
    arguments.parts = arguments.parts or list(known)
    for part in arguments.parts:
        if part not in known:
            parser.error(f"--parts {part!r} is not allowed: it must be one of {', '.join(known)}")
    return arguments


def _parts(arguments: argparse.Namespace) -> Mapping[str, Part]:
    return against.PARTS if arguments.against else PARTS


if __name__ == "__main__":
    given = _arguments()
    sys.exit(parts.run("bench", _parts(given), given))
