"""Speeds beside their bounds: `make perf` prints them. They hold on a quiet machine, so no other command runs them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mine import Mine, new_mine

ROUNDS = 15

ROWS = pytest.StashKey[list[str]]()


class Figures:
    """The rows of the table."""

    def __init__(self, rows: list[str]) -> None:
        self._rows = rows

    def check(self, what: str, value: float, at_most: float, unit: str) -> None:
        """Add a row. Raises AssertionError when the value is above its bound."""
        self._rows.append(f"{what:<60} {value:>8.3g} {at_most:>8.3g}  {unit}")
        assert value <= at_most, f"{what}: {value:.3g} {unit}, at most {at_most:.3g}"

    def check_cpu(self, what: str, work: Callable[[], object], calls: int, at_most_us: float) -> None:
        """Check the CPU time per call, given work that makes `calls` of them; the best of some rounds counts."""
        self.check(what, min(cpu_seconds(work) for _ in range(ROUNDS)) / calls * 1e6, at_most_us, "µs")

    def check_ratio(
        self, what: str, work: Callable[[], object], baseline: Callable[[], object], at_most: float
    ) -> None:
        """Check the CPU time vs. that of a baseline. Both run in alternation, and the best of each counts."""
        rounds = [(cpu_seconds(work), cpu_seconds(baseline)) for _ in range(ROUNDS)]
        best, best_baseline = (min(column) for column in zip(*rounds, strict=True))
        self.check(what, best / best_baseline, at_most, "times")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time that this process takes for one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Mine]:
    """A mine of the test's own with no service yet."""
    with new_mine(tmp_path) as made:
        yield made


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.config.stash[ROWS])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"{'':<60} {'measured':>8} {'at most':>8}", bold=True)
    for row in config.stash[ROWS]:
        terminalreporter.write_line(row)
