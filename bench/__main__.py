"""Compare the speed with baselines, or with an earlier commit."""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench import against
from bench.cost import memory, tls, traces
from bench.echo import echo
from bench.figures import Bound, Part
from bench.page import NOT_READING, page
from bench.processes import BenchError
from bench.sweep import autotune, sweep
from chassis import log
from chassis.batch_limits import MAX_BATCH_MESSAGES
from chassis.settings import LogFormat, LogLevel
from load_test.options import number, setting, whole
from webui_svc.settings import MAX_STREAMS

BATCH_SIZES = (1, 16, 256, 4_096, 16_384, MAX_BATCH_MESSAGES)

PARTS: Mapping[str, Part] = {
    "sweep": sweep,
    "echo": echo,
    "autotune": autotune,
    "memory": memory,
    "page": page,
    "traces": traces,
    "tls": tls,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    option = parser.add_argument
    option("--against", metavar="COMMIT", help="compare with this commit, which is built below build/")
    names = f"{', '.join(PARTS)}; with --against, {', '.join(against.PARTS)}"
    option("--parts", nargs="+", metavar="PART", help=f"what to measure: {names}")
    sizes, count, seconds = setting("batch_size", "messages"), whole(1, 1_000, "times"), number(1, 3_600)
    browsers = whole(NOT_READING + 1, MAX_STREAMS, "browsers")
    option("--batch-sizes", type=sizes, default=BATCH_SIZES, help="sweep, hash: 1,16,256 …")
    windows = setting("window_size", "batches in flight")
    option("--window-sizes", type=windows, default=(8,), help="hash: 1,8,64 …")
    option("--repeats", type=count, default=3, help="sweep, echo: runs")
    option("--seconds", type=seconds, default=1.5, help="sweep, echo, hash, latency: the length of a run")
    option("--pairs", type=count, default=6, help="traces, tls, --against: three or more for a verdict")
    option("--pair-seconds", type=seconds, default=10.0, help="traces, tls, classic: the length of a run")
    option("--memory-seconds", type=seconds, default=6.0, help="memory: the length of its run")
    option("--browsers", type=browsers, default=1_000, help="page: how many there are")
    option("--workers", type=whole(1, 1_000, "workers"), default=200, help="page: how many have worked for an hour")
    option("--page-seconds", type=number(5, 3_600), default=40.0, help="page: the length of each measurement")
    option("--autotune-seconds", type=number(15, 3_600), default=40.0, help="autotune: the length of its run")
    replicas = whole(1, 64, "replicas")
    option("--replicas", type=replicas, default=1, help="--against: the number of rngs and of hashers; not on macOS")
    arguments = parser.parse_args()
    known = against.PARTS if arguments.against else PARTS
    for part in arguments.parts or ():
        if part not in known:
            parser.error(f"--parts {part!r} is not allowed: it must be one of {', '.join(known)}")
    arguments.parts = {name: known[name] for name in arguments.parts or known}
    return arguments


def main() -> int:
    """Print the tables of each part as it ends; return 1 if a bound does not hold for certain or a service failed."""
    arguments = _arguments()
    log.configure(LogLevel.ERROR, LogFormat.CONSOLE)
    began = time.monotonic()
    bounds: list[Bound] = []
    try:
        for measure in arguments.parts.values():
            with tempfile.TemporaryDirectory() as folder:
                lines, measured = measure(arguments, Path(folder))
            sys.stdout.write("\n".join([*lines, *map(str, measured)]) + "\n\n")
            sys.stdout.flush()
            bounds += measured
    except BenchError as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    return 0 if all(bound.verdict.startswith("held") for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
