"""What it costs at full pace that everything is counted for the metrics."""

from functools import partial
from pathlib import Path

from bench.side_by_side import Comparison, Pairs
from bench.system import servers

SETTINGS = {"PACE": "full", "BATCH_SIZE": "256"}

MOST_TIMES = 1.02
"""The CPU a hash without metrics."""


def measure(pairs: int, seconds: float, folder: Path) -> Pairs:
    """Pairs of turns, counted and not. Raises BenchError when a service does not do its work."""
    counted = partial(servers, settings=SETTINGS)
    uncounted = partial(servers, settings=SETTINGS, program=("-m", "bench.uncounted"))
    return Comparison("metrics", counted, uncounted).measure(pairs, seconds, folder)
