"""What it costs at full pace that one batch in a hundred is traced: CPU a hash, of rng, hasher and worker together.

Two systems mine at the same time, one that is told of a collector and one that is not: in turns, one after the other,
the machine changes by more than what is measured (on a busy one, ten pairs are wrong by 3 % in turns and by 1 % side by
side). Each pair has processes of its own, since two of the same program may differ, too. The collector's CPU is not
counted.
"""

import contextlib
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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


def measure(pairs: int, seconds: float, folder: Path) -> list[tuple[Turn, Turn]]:
    """Pairs of turns, traced and not. Raises BenchError when a service does not do its work."""
    results = []
    plain = {"PACE": "full", "BATCH_SIZE": f"{BATCH_SIZE}"}
    with _collector(folder) as endpoint, ThreadPoolExecutor(2) as both:
        traced = {**plain, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        for number in range(pairs):
            progress.show(f"CPU a hash with and without traces: pair {number + 1} of {pairs}")
            # Who starts first takes turns.
            kinds = (traced, plain) if number % 2 else (plain, traced)
            with servers(folder, kinds[0]) as first, servers(folder, kinds[1]) as second:
                turns = list(both.map(partial(take_turn, settings={}, seconds=seconds), (first, second)))
            results.append((turns[kinds.index(traced)], turns[kinds.index(plain)]))
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
