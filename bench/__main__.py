"""`make bench`: the pipeline over gRPC at several batch sizes, beside the same work in one process."""

import statistics
import sys
import tempfile
from pathlib import Path

from bench import progress
from bench.in_process import hashes_per_second
from bench.processes import BenchError
from bench.system import mining

BATCH_SIZES = (1, 16, 256, 4_096, 16_384)
REPEATS = 3
SECONDS = 4.0
LOOP_SECONDS = 1.0


def measure(folder: Path) -> dict[int, list[tuple[float, float]]]:
    """Hashes a second of pipeline and loop, by batch size.

    The batch sizes take turns and each pipeline run has its own loop beside it, so that a machine whose speed drifts
    favours none of them.
    """
    results: dict[int, list[tuple[float, float]]] = {size: [] for size in BATCH_SIZES}
    for repeat in range(REPEATS):
        for size in BATCH_SIZES:
            progress.show(f"round {repeat + 1} of {REPEATS}, batch size {size}")
            loop = hashes_per_second(size, LOOP_SECONDS)
            results[size].append((mining(size, SECONDS, folder), loop))
    progress.show("")
    return results


def main() -> int:
    """Print the table; 1 when a service failed."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = measure(Path(folder))
    except BenchError as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    print(f"{REPEATS} runs each; one rng, one hasher, one worker; hashes/s, median; ratio: median, min, max")
    print(f"{'batch':>7} {'pipeline':>12} {'in-process loop':>16} {'ratio':>7} {'min':>6} {'max':>6}")
    for size, runs in results.items():
        ratios = [pipeline / loop for pipeline, loop in runs]
        pipeline, loop = (statistics.median(column) for column in zip(*runs, strict=True))
        spread = f"{statistics.median(ratios):>7.3f} {min(ratios):>6.3f} {max(ratios):>6.3f}"
        print(f"{size:>7,} {pipeline:>12,.0f} {loop:>16,.0f} {spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
