"""The workshop's pace, which is no matter of the machine."""

from collections.abc import Iterator
from pathlib import Path

from bench import progress
from bench.spread import Spread
from bench.system import servers

RIGHT = 10 / 3


def measure(reports: int, folder: Path) -> Spread:
    """Hashes a second by each of so many reports. Raises BenchError when nothing is mined."""
    speeds = []
    with servers(folder, {"PACE": "classic"}) as running, running.worker({}):
        last = running.last_report()
        for number in range(reports):
            progress.show(f"classic pace: report {number + 1} of {reports}")
            last, report = running.next_report(last)
            speeds.append(int(report["hashes"]) / (int(report["end_us"]) - int(report["begin_us"])) * 1e6)
    progress.show("")
    return Spread(speeds)


def lines(speeds: Spread) -> Iterator[str]:
    """The table."""
    yield f"Classic pace, hashes a second by report: {speeds}; right is {RIGHT:.2f}"
