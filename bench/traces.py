"""What it costs at full pace that one batch in a hundred is traced; the collector's CPU is not counted."""

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.processes import free_port, process, wait_until_listening
from bench.side_by_side import Comparison, Pairs
from bench.system import servers

SETTINGS = {"PACE": "full", "BATCH_SIZE": "256"}

MOST_TIMES = 1.02
"""The CPU a hash without traces."""


def measure(pairs: int, seconds: float, folder: Path) -> Pairs:
    """Pairs of turns, traced and not. Raises BenchError when a service does not do its work."""
    with _collector(folder) as endpoint:
        traced = partial(servers, settings={**SETTINGS, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        return Comparison("traces", traced, partial(servers, settings=SETTINGS)).measure(pairs, seconds, folder)


@contextlib.contextmanager
def _collector(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.otlp_sink", f"{port}"]
    with process(command, {}, folder / "collector.log") as started:
        wait_until_listening(started, "127.0.0.1", port, folder)
        yield f"http://127.0.0.1:{port}"
