import json
import time
from typing import Any

import pytest

from chassis.endpoint_state import EndpointState
from chassis.settings import Pace
from webui_svc import timeline
from webui_svc.backends import Backend, View
from webui_svc.board import Board
from webui_svc.report import Report

WORKER = "worker-1-00000001"


class Clocked:
    """A board with one worker, under clocks that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = 1_000.0
        self.now = 1_700_000_000.0
        self._sequence = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(timeline, "steady", lambda: self.clock)
        self.board = Board("redis", "webui-1")
        self.board.redis = True

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.now += seconds

    def report(
        self, state: EndpointState = EndpointState.SERVING, seconds: float = 0.1, hashes: int = 10, waits_for: str = ""
    ) -> None:
        self._sequence += 1
        end_us = round(self.now * 1e6)
        begin_us = end_us - round(seconds * 1e6)
        report = Report(
            *(WORKER, "worker-1", self._sequence, hashes, 0, begin_us, end_us, 1, Pace.FULL, 1_000_000, end_us, end_us),
            stalled_since_us=0 if hashes else begin_us,
            waits_for=waits_for,
        )
        self.board.take(report, self.clock)
        backend = Backend("rng-1", "10.0.0.3:50051", state, self._sequence, {40: self._sequence})
        self.board.take_view(WORKER, View(seconds, {"rng": (backend,), "hasher": ()}), self.clock)

    def update(self) -> dict[str, Any]:
        self.board.settle()
        event = self.board.update()
        return {} if event is None else json.loads(event.partition(b"data: ")[2])


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    return Clocked(monkeypatch)


def test_what_did_not_change_is_not_told(clocked: Clocked) -> None:
    assert clocked.update()["system"]["redis"]["state"] == "serving"
    assert clocked.update() == {}
    clocked.pass_time(1.5)
    clocked.board.hashes = 10
    assert not {"system", "found", "marks"} & clocked.update().keys()


def test_figures_that_always_move_are_told_once_a_second(clocked: Clocked) -> None:
    clocked.report()
    clocked.update()
    told = 0
    for _ in range(40):
        clocked.pass_time(0.1)
        clocked.report()
        told += "system" in clocked.update()
    assert 3 <= told <= 4


def test_a_replica_whose_state_changed_is_told_at_once(clocked: Clocked) -> None:
    clocked.report()
    clocked.update()
    clocked.pass_time(0.1)
    clocked.report(EndpointState.SLOW)
    assert clocked.update()["system"]["rng"]["replicas"][0]["state"] == "slow"


def test_a_snapshot_has_what_updates_have_told(clocked: Clocked) -> None:
    clocked.report()
    told = clocked.update()
    snapshot = json.loads(clocked.board.snapshot().partition(b"data: ")[2])
    assert all(snapshot[name] == told[name] for name in ("system", "found", "hashes", "load_tests"))
    assert set(snapshot) - set(told) == {"marks", "shown_seconds"}


def test_a_worker_that_went_does_nothing_any_more(clocked: Clocked) -> None:
    for _ in range(30):
        clocked.pass_time(0.1)
        clocked.report()
        clocked.update()
    clocked.pass_time(3.1)
    (worker,) = clocked.update()["system"]["worker"]["replicas"]
    assert (worker["state"], worker["speed"]) == ("gone", 0)
    clocked.pass_time(10)
    assert clocked.update()["system"]["worker"]["replicas"] == []


def test_a_worker_that_waits_is_shown_with_the_service_it_waits_for(clocked: Clocked) -> None:
    clocked.report()
    clocked.update()
    clocked.pass_time(1.0)
    clocked.report(hashes=0, seconds=0, waits_for="hasher")
    told = clocked.update()
    (worker,) = told["system"]["worker"]["replicas"]
    assert (worker["state"], worker["waits_for"], told["waits_for"]) == ("waiting", "hasher", ["hasher"])
    assert [(mark["kind"], mark["name"]) for mark in told["marks"]] == [("waiting", "hasher")]
    clocked.pass_time(1.0)
    clocked.report()
    told = clocked.update()
    (worker,) = told["system"]["worker"]["replicas"]
    assert (worker["state"], worker["waits_for"], told["waits_for"]) == ("serving", "", [])


def test_while_redis_is_away_the_system_is_kept(clocked: Clocked) -> None:
    clocked.report()
    before = clocked.update()["system"]
    clocked.board.redis = False
    told = clocked.update()["system"]
    assert told["redis"] == {"name": "redis", "state": "gone", "reports": 0}
    assert told["rng"] == before["rng"]


def test_nobody_goes_because_redis_was_away(clocked: Clocked) -> None:
    clocked.report()
    clocked.update()
    clocked.pass_time(60)
    clocked.board.excuse(60)
    told = clocked.update()
    assert [mark["kind"] for mark in told["marks"]] == ["gap"]
    assert told["marks"][0]["until"] - told["marks"][0]["at"] == 60
