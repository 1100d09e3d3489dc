import json
import math
import time
from typing import Any

import pytest
from support.reports import WORKER, make_report

from chassis.redis.schema import Coin, EndpointState, NewCoins, ReplicaSnapshot, ReplicaStats
from webui_svc import timeline
from webui_svc.board import Board
from webui_svc.finds import SHOWN, Finds
from webui_svc.marks import KEPT, MOST, Attendance, BatchSizes, Mark, Marks, Waits
from webui_svc.speed import Speed

BASE = 1_700_000_000


def test_the_newest_coins_of_all_workers_are_shown_with_the_time_of_redis() -> None:
    finds = Finds()
    for number in range(12):
        found = NewCoins(4, (Coin(f"{number:064x}", BASE + number + 50.25),))
        finds.hear(f"worker-{number % 2}", found, lambda at: at - 50)
    latest = finds.figures(Speed(), 3_600)["latest"]
    assert [int(coin["digest"], 16) for coin in latest] == list(range(11, 11 - SHOWN, -1))
    assert latest[0] == {"digest": f"{11:064x}", "at": BASE + 3_611.25, "bits": 4, "worker": "worker-1"}


def test_what_is_expected_of_the_last_minute_follows_from_hashes_and_bits_of_each_worker() -> None:
    finds, speed = Finds(), Speed()
    assert finds.figures(speed) == {"latest": [], "minute": 0, "predicted": None, "deviation": None}
    for worker, bits, hashes, coins in (("a", 4, 32_000, 2_034), ("b", 0, 100, 100)):
        speed.add(make_report(BASE, BASE + 120, hashes, worker, coins=coins), BASE + 120, 0)
        speed.settle(BASE + 120, 0)
        finds.hear(worker, NewCoins(bits, ()), lambda at: at)
    figures = finds.figures(speed)
    assert (figures["minute"], figures["predicted"]) == (1_017 + 50, 1_000 + 50)
    assert figures["deviation"] == pytest.approx(math.sqrt(16_000 / 16 * 15 / 16), abs=1e-3)


@pytest.fixture
def marks() -> Marks:
    return Marks()


def told(marks: Marks) -> list[tuple[float, str, str]]:
    return [(mark["at"] - BASE, mark["kind"], mark["name"]) for mark in marks.take_new()]


def settle(attendance: Attendance, now: float, *present: str) -> None:
    attendance.settle({name: name for name in present}, lambda _: BASE + now, lambda _: BASE + now)


def test_whoever_is_there_at_first_did_not_come(marks: Marks) -> None:
    rng = Attendance("rng", marks)
    settle(rng, 0, "rng-1", "rng-2")
    assert told(marks) == []
    settle(rng, 1, "rng-2", "rng-3")
    assert told(marks) == [(1, "rng went", "rng-1"), (1, "rng came", "rng-3")]
    settle(rng, 2, "rng-2", "rng-3")
    assert told(marks) == []


def test_waiting_is_marked_once_where_it_began(marks: Marks) -> None:
    waits = Waits(marks)
    for since in ({}, {"hasher": BASE + 1}, {"hasher": BASE + 1, "rng": BASE + 2}, {}, {"hasher": BASE + 9}, {}):
        waits.settle(since)
    assert told(marks) == [(1, "waiting", "hasher"), (2, "waiting", "rng")]
    waits.settle({"hasher": BASE + 11})
    assert told(marks) == [(11, "waiting", "hasher")]


def test_one_that_changes_all_the_time_is_marked_now_and_then_and_at_last(marks: Marks) -> None:
    sizes = BatchSizes(marks)
    for second in range(35):
        sizes.hear(make_report(BASE + second, BASE + second + 1, batch_size=2 ** min(second, 25)))
    found = marks.take_new()
    assert [mark["at"] - BASE for mark in found] == [1, 11, 21, 31]
    assert found[-1]["value"] == 2**25


def test_no_more_than_an_hour_and_not_too_many_are_kept(marks: Marks) -> None:
    for second in range(MOST + 5):
        marks.add(Mark(BASE + second, "gap", "redis", until=BASE + second + 1))
    assert len(marks.all(BASE + 300)) == MOST
    assert [mark["at"] for mark in marks.all(BASE + MOST + KEPT + 3)] == [BASE + MOST + 3, BASE + MOST + 4]


class Clocked:
    """A board with one worker, under clocks that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = 1_000.0
        self._sequence = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(timeline, "steady_s", lambda: self.clock)
        self.board = Board("redis", "webui-1")
        self.board.redis = True

    @property
    def now(self) -> float:
        return self.clock + BASE

    def report(self, after: float, state: EndpointState = EndpointState.SERVING, waits_for: str = "") -> None:
        """Report after some seconds, of which the last tenth was work unless the worker waits."""
        self.clock += after
        self._sequence += 1
        stalled: dict[str, Any] = {"stalled_since_us": round(self.now * 1e6), "waits_for": waits_for}
        begin, hashes = (self.now, 0) if waits_for else (self.now - 0.1, 10)
        report = make_report(begin, self.now, hashes, sequence=self._sequence, **(stalled if waits_for else {}))
        self.board.take(report, self.clock)
        replica = ReplicaStats("rng-1", "10.0.0.3:50051", state, self._sequence, {40: self._sequence})
        self.board.take_view(WORKER, ReplicaSnapshot(0.1, [replica], []), self.clock)

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
