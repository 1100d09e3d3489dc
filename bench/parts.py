"""What all benches' commands do: measure part by part, print as they go, and see that bounds are held."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.bound import Bound
from bench.processes import BenchError
from chassis import log
from chassis.settings import LogFormat, LogLevel

Report = tuple[list[str], list[Bound]]
"""A table's lines, and the bounds on what it shows."""

Part = Callable[[argparse.Namespace, Path], Report]
"""Measures, given the command's arguments and an empty folder."""


def run(name: str, parts: Mapping[str, Part], arguments: argparse.Namespace) -> int:
    """Print a table for each of `arguments.parts`, as it is done.

    1 when a bound is not held for certain, or a service failed; 130 when somebody interrupted.
    """
    log.configure(LogLevel.ERROR, LogFormat.CONSOLE)
    began = time.monotonic()
    bounds: list[Bound] = []
    try:
        for part in arguments.parts:
            with tempfile.TemporaryDirectory() as folder:
                lines, held_to = parts[part](arguments, Path(folder))
            sys.stdout.write("\n".join([*lines, *map(str, held_to)]) + "\n\n")
            sys.stdout.flush()
            bounds += held_to
    except BenchError as error:
        sys.stderr.write(f"\n{name}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    return 0 if all(bound.held for bound in bounds) else 1
