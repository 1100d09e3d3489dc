"""What it costs at full pace that one batch in a hundred is traced: CPU a hash, of rng, hasher and worker together.

Workers take turns on two sets of servers, those that are told of a collector and those that are not, so that a machine
whose speed drifts favours neither; and each pair has servers of its own, since two processes of the same program may
differ by more than what is measured. The collector's CPU is not counted.
"""

import contextlib
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import progress
from bench.bound import AtMost, Bound
from bench.processes import free_port, process, wait_until_listening
from bench.spread import Spread
from bench.system import servers
from bench.turn import Turn, take_turn

BATCH_SIZE = 256

MOST_MORE = 1.02
"""Times the CPU a hash."""

TURNS = ((True, False), (False, True))
"""Whether the worker is traced: who goes first takes turns, too."""


def measure(pairs: int, seconds: float, folder: Path) -> list[tuple[Turn, Turn]]:
    """Pairs of turns, traced and not. Raises BenchError when a service does not do its work."""
    results = []
    plain = {"PACE": "full", "BATCH_SIZE": f"{BATCH_SIZE}"}
    with _collector(folder) as endpoint:
        traced = {**plain, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        for number in range(pairs):
            progress.show(f"CPU a hash with and without traces: pair {number + 1} of {pairs}")
            with servers(folder, traced) as told, servers(folder, plain) as untold:
                turns = {each: take_turn(told if each else untold, {}, seconds) for each in TURNS[number % 2]}
            results.append((turns[True], turns[False]))
    progress.show("")
    return results


@contextlib.contextmanager
def _collector(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.otlp_sink", f"{port}"]
    with process(command, {}, folder / "collector.log") as started:
        wait_until_listening(started, "127.0.0.1", port, folder)
        yield f"http://127.0.0.1:{port}"


def _ratios(results: list[tuple[Turn, Turn]]) -> list[float]:
    return [traced.cpu_a_million / plain.cpu_a_million for traced, plain in results]


def lines(results: list[tuple[Turn, Turn]]) -> Iterator[str]:
    """The table."""
    yield f"CPU at batch {BATCH_SIZE}, seconds a million hashes, of rng, hasher and worker"
    yield f"{'pair':>7} {'1 % traced':>11} {'no traces':>10} {'ratio':>7} {'million hashes/s':>17}"
    for number, ((traced, plain), ratio) in enumerate(zip(results, _ratios(results), strict=True), 1):
        speeds = f"{traced.speed / 1e6:.2f} {plain.speed / 1e6:.2f}"
        yield f"{number:>7} {traced.cpu_a_million:>11.3f} {plain.cpu_a_million:>10.3f} {ratio:>7.3f} {speeds:>17}"


def bounds(results: list[tuple[Turn, Turn]]) -> list[Bound]:
    """What tracing is held to."""
    ratios = _ratios(results)
    mean, noise = statistics.mean(ratios), Spread(ratios).noise
    return [AtMost("CPU a hash with 1 % traced, times that without", mean, MOST_MORE, noise)]
