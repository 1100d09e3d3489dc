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
        self._sequence = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(timeline, "steady", lambda: self.clock)
        self.board = Board("redis", "webui-1")
        self.board.redis = True

    @property
    def now(self) -> float:
        return self.clock + 1_700_000_000

    def report(self, after: float, state: EndpointState = EndpointState.SERVING, waits_for: str = "") -> None:
        """Report after some seconds, of which the last tenth was work unless the worker waits."""
        self.clock += after
        self._sequence += 1
        stalled: dict[str, Any] = {"stalled_since_us": round(self.now * 1e6), "waits_for": waits_for}
        begin, hashes = (self.now, 0) if waits_for else (self.now - 0.1, 10)
        report = make_report(begin, self.now, hashes, sequence=self._sequence, **(stalled if waits_for else {}))
        self.board.take(report, self.clock)
        backend = Backend("rng-1", "10.0.0.3:50051", state, self._sequence, {40: self._sequence})
        self.board.take_view(WORKER, View(0.1, {"rng": (backend,), "hasher": ()}), self.clock)

    def update(self) -> dict[str, Any]:
        self.board.settle()
        event = self.board.update()
        return {} if event is None else json.loads(event.partition(b"data: ")[2])


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    return Clocked(monkeypatch)


def test_only_what_changed_is_sent_and_what_always_moves_once_a_second(clocked: Clocked) -> None:
    assert clocked.update()["system"]["redis"]["state"] == "serving"
    assert clocked.update() == {}
    clocked.board.hashes = 10
    assert not {"system", "found", "marks"} & clocked.update().keys()
    sent = 0
    for _ in range(40):
        clocked.report(after=0.1)
        sent += "system" in clocked.update()
    assert 4 <= sent <= 5
    clocked.report(0.1, EndpointState.SLOW)
    assert clocked.update()["system"]["rng"]["replicas"][0]["state"] == "slow"  # at once


def test_a_snapshot_has_what_updates_have_sent(clocked: Clocked) -> None:
    clocked.report(after=0)
    sent = clocked.update()
    snapshot = json.loads(clocked.board.snapshot().partition(b"data: ")[2])
    assert all(snapshot[name] == sent[name] for name in ("system", "found", "hashes", "load_tests"))
    assert set(snapshot) - set(sent) == {"marks", "shown_seconds"}


def test_a_worker_is_shown_with_the_service_it_waits_for_and_goes_when_it_is_silent(clocked: Clocked) -> None:
    def shown() -> tuple[str, bool, str, list[str]]:
        sent = clocked.update()
        (worker,) = sent["system"]["worker"]["replicas"]
        return worker["state"], worker["speed"] > 0, worker["waits_for"], sent["waits_for"]

    clocked.report(after=0)
    clocked.update()
    clocked.report(after=1, waits_for="hasher")
    assert shown() == ("waiting", True, "hasher", ["hasher"])
    clocked.report(after=1)
    assert shown() == ("serving", True, "", [])
    clocked.clock += 60
    clocked.board.excuse(60)  # Redis was away
    assert clocked.update()["workers"] == 1
    clocked.clock += 3.1
    assert shown() == ("gone", False, "", [])
    clocked.clock += 10
    assert clocked.update()["system"]["worker"]["replicas"] == []
