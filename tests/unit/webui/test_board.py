import json
import time
from typing import Any

import pytest
from support.reports import WORKER, make_report

from chassis.endpoint_state import EndpointState
from webui_svc import timeline
from webui_svc.backends import Backend, View
from webui_svc.board import Board


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
        stalled: dict[str, Any] = {} if hashes else {"stalled_since_us": round(self.now * 1e6), "waits_for": waits_for}
        report = make_report(self.now - seconds, self.now, hashes, sequence=self._sequence, **stalled)
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


def test_what_did_not_change_is_not_sent_and_what_always_moves_once_a_second(clocked: Clocked) -> None:
    assert clocked.update()["system"]["redis"]["state"] == "serving"
    assert clocked.update() == {}
    clocked.board.hashes = 10
    assert not {"system", "found", "marks"} & clocked.update().keys()
    sent = 0
    for _ in range(40):
        clocked.pass_time(0.1)
        clocked.report()
        sent += "system" in clocked.update()
    assert 4 <= sent <= 5


def test_a_replica_whose_state_changed_is_sent_at_once(clocked: Clocked) -> None:
    clocked.report()
    clocked.update()
    clocked.pass_time(0.1)
    clocked.report(EndpointState.SLOW)
    assert clocked.update()["system"]["rng"]["replicas"][0]["state"] == "slow"


def test_a_snapshot_has_what_updates_have_sent(clocked: Clocked) -> None:
    clocked.report()
    sent = clocked.update()
    snapshot = json.loads(clocked.board.snapshot().partition(b"data: ")[2])
    assert all(snapshot[name] == sent[name] for name in ("system", "found", "hashes", "load_tests"))
    assert set(snapshot) - set(sent) == {"marks", "shown_seconds"}


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
    sent = clocked.update()
    (worker,) = sent["system"]["worker"]["replicas"]
    assert (worker["state"], worker["waits_for"], sent["waits_for"]) == ("waiting", "hasher", ["hasher"])
    assert [(mark["kind"], mark["name"]) for mark in sent["marks"]] == [("waiting", "hasher")]
    clocked.pass_time(1.0)
    clocked.report()
    sent = clocked.update()
    (worker,) = sent["system"]["worker"]["replicas"]
    assert (worker["state"], worker["waits_for"], sent["waits_for"]) == ("serving", "", [])
