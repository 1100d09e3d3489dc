from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from system.local_run.local_run_process import LocalRun


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LocalRun]]:
    """Starts a local run with these variables."""
    started: list[LocalRun] = []

    def start_one(**variables: str) -> LocalRun:
        started.append(LocalRun(tmp_path, variables))
        return started[-1]

    try:
        yield start_one
    finally:
        for run in started:
            run.close()
