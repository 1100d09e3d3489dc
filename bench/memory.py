"""What each process holds with the largest batches, and as many in flight as a worker allows."""

import argparse
import time
from pathlib import Path

from bench.figures import Bound, Report, Spread, table
from bench.processes import show
from bench.system import servers
from chassis.limits import MAX_BATCH_MESSAGES
from worker_svc.settings import MAX_IN_FLIGHT_BYTES

MESSAGE_SIZE = 32
WINDOW = MAX_IN_FLIGHT_BYTES // (MAX_BATCH_MESSAGES * MESSAGE_SIZE)

SAMPLE_INTERVAL_S = 0.05

MAX_MEGABYTES = 300

# The most in the second half of the time, times that in the first. Heaps grow for some seconds at first.
MAX_GROWTH = 1.1
# The shortest measurement for which growth is judged.
MIN_GROWTH_SECONDS = 60.0


def memory(arguments: argparse.Namespace, folder: Path) -> Report:
    """Sample the resident memory of every process."""
    seconds = arguments.memory_seconds
    show(f"memory at batch {MAX_BATCH_MESSAGES:,}")
    settings = {"PACE": "full", "BATCH_SIZE": f"{MAX_BATCH_MESSAGES}", "WINDOW_SIZE": f"{WINDOW}"}
    halves: list[dict[str, float]] = []
    with servers(folder, settings) as running, running.worker({}) as worker:
        processes = {**running.processes, "worker": worker}
        began = time.monotonic()
        for half in (1, 2):
            halves.append(most := dict.fromkeys(processes, 0.0))
            while time.monotonic() < began + half * seconds / 2:
                for name, process in processes.items():
                    most[name] = max(most[name], process.memory_info().rss / 1e6)
                time.sleep(SAMPLE_INTERVAL_S)
    show("")
    first, second = halves
    most = {name: max(first[name], second[name]) for name in first}
    title = f"Resident at batch {MAX_BATCH_MESSAGES:,}, {WINDOW} in flight, over {seconds:.0f} s: the most, MB"
    row = [f"{megabytes:.0f}" for megabytes in most.values()]
    largest = Spread([max(most.values())])
    bounds = [Bound(f"memory of any process at batch {MAX_BATCH_MESSAGES:,}, MB", largest, "<=", MAX_MEGABYTES)]
    if seconds >= MIN_GROWTH_SECONDS:
        growth = Spread([max(second[name] / first[name] for name in first)])
        bounds.append(Bound("memory in the second half of the time, vs. the first", growth, "<=", MAX_GROWTH))
    return table(title, list(most), [row]), bounds
