"""What the commands change, with a manager that starts nothing; time is virtual."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from local_run.manager import State
from local_run.programs import Plan, Port, Program
from local_run.run import _Run
from local_run.settings import LocalRunSettings


class FakeManager:
    """Programs run as soon as they are started, and take a second to stop."""

    def __init__(self, _: object) -> None:
        self.processes: dict[str, Any] = {}
        self.stopping = asyncio.Event()

    def start(self, program: Program) -> None:
        self.processes[program.name] = SimpleNamespace(program=program, pid=1, state=State.RUNNING)

    async def stop(self, name: str) -> None:
        process = self.processes[name]
        await asyncio.sleep(1)
        if self.processes.pop(name) is not process:
            raise AssertionError(f"{name} was replaced while it stopped")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that others have; all others are free."""
    ports: set[int] = set()
    monkeypatch.setattr(Port, "problem", lambda self: "is already in use" if self.number in ports else "")
    return ports


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: set[int]) -> _Run:
    monkeypatch.setattr("os.environ", dict(os.environ))
    monkeypatch.setattr("local_run.run.Manager", FakeManager)
    for name in ("LogOutput", "Output"):
        monkeypatch.setattr(f"local_run.run.{name}", Mock())
    settings = LocalRunSettings(data_dir=str(tmp_path), redis_url="redis://127.0.0.1:1", rngs=3)
    made = _Run(settings, Plan(settings, frozenset(), tmp_path), tmp_path, Mock(), log=True)
    for program in made._programs:
        made._manager.start(program)
    return made


async def test_commands_that_start_and_stop_replicas_wait_for_each_other(running: _Run) -> None:
    scale: dict[str, Any] = {"command": "scale", "counts": ["rng=1"]}
    slow = {"command": "slow", "name": "rng-1", "seconds": "0.5"}
    said = await asyncio.gather(*(running._handle(each) for each in (scale, scale, slow, slow)))
    assert said[:2] == [["rng: 3 → 1"], ["rng: 1 → 1"]]
    assert [name for name in running._names() if name.startswith("rng")] == ["rng-1"]


async def test_a_port_that_is_not_the_usual_one_is_named_when_a_service_is_scaled(
    running: _Run, taken: set[int]
) -> None:
    taken.add(50_054)
    assert await running._handle({"command": "scale", "counts": ["rng=4"]}) == [
        "rng-4: port 50054 is already in use, so it has 50055; RNG_PORT=… chooses another",
        "rng: 3 → 4",
    ]
