import json
import math
import time
from typing import Any

import pytest
from support.reports import WORKER, make_report

from chassis.redis.schema import (
    ANNOTATIONS_S,
    Annotation,
    AnnotationKind,
    Coin,
    NewCoins,
    ReplicaSnapshot,
    ReplicaState,
    ReplicaStats,
)
from webui_svc import timeline
from webui_svc.annotations import SHOWN_ANNOTATIONS, SHOWN_NAMES, Annotations
from webui_svc.coins import SHOWN_COINS, CoinStatistics
from webui_svc.speed import Speed
from webui_svc.state import DashboardState

BASE = 1_700_000_000


def test_the_newest_coins_of_all_workers_are_shown_with_the_time_of_redis() -> None:
    coins = CoinStatistics()
    for number in range(12):
        found = NewCoins(4, (Coin(f"{number:064x}", BASE + number + 50.25),))
        coins.ingest(f"worker-{number % 2}", found, lambda at: at - 50)
    latest = coins.figures(Speed(), 3_600)["latest"]
    assert [int(coin["digest"], 16) for coin in latest] == list(range(11, 11 - SHOWN_COINS, -1))
    assert latest[0] == {"digest": f"{11:064x}", "at": BASE + 3_611.25, "bits": 4, "worker": "worker-1"}


def test_what_is_expected_of_the_last_minute_follows_from_hashes_and_bits_of_each_worker() -> None:
    coins, speed = CoinStatistics(), Speed()
    assert coins.figures(speed) == {"latest": [], "minute": 0, "expected": None, "deviation": None}
    for worker, bits, hashes, found in (("a", 4, 32_000, 2_034), ("b", 0, 100, 100)):
        speed.ingest(make_report(BASE, BASE + 120, hashes, worker, coins=found), BASE + 120, 0)
        speed.finalize(BASE + 120, 0)
        coins.ingest(worker, NewCoins(bits, ()), lambda at: at)
    figures = coins.figures(speed)
    assert (figures["minute"], figures["expected"]) == (1_017 + 50, 1_000 + 50)
    assert figures["deviation"] == pytest.approx(math.sqrt(16_000 / 16 * 15 / 16), abs=1e-3)


def annotation(at: float, until: float, **changes: Any) -> Annotation:
    """Return an annotation that was written at its end."""
    times = {name: round((BASE + second) * 1e6) for name, second in (("at_us", at), ("until_us", until))}
    fields: dict[str, Any] = {"kind": AnnotationKind.JOINED, "service": "worker", "names": "w-1", "count": 1, "to": ""}
    return Annotation(**(fields | {"value": "", **times, "redis_us": times["until_us"]} | changes))


def test_an_annotation_replaces_the_one_that_it_extends_and_is_shown_with_the_time_of_redis() -> None:
    annotations = Annotations()
    annotations.ingest(annotation(1, 1), lambda redis_us: redis_us - 50_000_000)
    [first] = annotations.take_changed(3_600)
    assert (first["at"], first["until"], first["count"]) == (BASE + 3_551, BASE + 3_551, 1)
    annotations.ingest(annotation(1, 4, names=" ".join(f"w-{number}" for number in range(10)), count=10), lambda at: at)
    annotations.ingest(annotation(2, 2, kind=AnnotationKind.AUTOTUNED, value="16384 x 8"), lambda at: at)
    extended, other = annotations.take_changed()
    assert (extended["id"], extended["count"], len(extended["names"])) == (first["id"], 10, SHOWN_NAMES)
    assert (extended["until"] - extended["at"], other["value"]) == (3, "16384 x 8")
    assert annotations.take_changed() == []
    assert annotations.all(BASE + 5) == [extended, other]


def test_no_more_than_an_hour_and_not_too_many_annotations_are_kept() -> None:
    annotations = Annotations()
    for second in range(SHOWN_ANNOTATIONS + 5):
        annotations.ingest(annotation(second, second + 1), lambda at: at)
    assert len(annotations.all(BASE + 300)) == SHOWN_ANNOTATIONS
    late = annotations.all(BASE + SHOWN_ANNOTATIONS + ANNOTATIONS_S + 4)
    assert [each["at"] - BASE for each in late] == [SHOWN_ANNOTATIONS + 3, SHOWN_ANNOTATIONS + 4]


class Clocked:
    """A state with one worker, under clocks that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = 1_000.0
        self._sequence = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(timeline, "steady_s", lambda: self.clock)
        self.state = DashboardState("redis", "webui-1")
        self.state.redis_available = True

    @property
    def now(self) -> float:
        return self.clock + BASE

    def report(self, after: float, state: ReplicaState = ReplicaState.SERVING, waits_for: str = "") -> None:
        """Report after some seconds, of which the last tenth was work unless the worker waits."""
        self.clock += after
        self._sequence += 1
        stalled: dict[str, Any] = {"stalled_since_us": round(self.now * 1e6), "waits_for": waits_for}
        begin, hashes = (self.now, 0) if waits_for else (self.now - 0.1, 10)
        report = make_report(begin, self.now, hashes, sequence=self._sequence, **(stalled if waits_for else {}))
        self.state.ingest(report, self.clock)
        replica = ReplicaStats("rng-1", "10.0.0.3:50051", state, self._sequence, {40: self._sequence})
        self.state.ingest_replicas(WORKER, ReplicaSnapshot(0.1, [replica], []))

    def update(self) -> dict[str, Any]:
        self.state.finalize()
        event = self.state.update()
        return {} if event is None else json.loads(event.partition(b"data: ")[2])


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    return Clocked(monkeypatch)


def test_only_what_changed_is_sent_and_what_always_moves_once_a_second(clocked: Clocked) -> None:
    assert clocked.update()["topology"]["redis"]["state"] == "serving"
    assert clocked.update() == {}
    clocked.state.hashes = 10
    assert not {"topology", "coin_statistics", "annotations"} & clocked.update().keys()

    def sent_in_40_reports() -> int:
        sent = 0
        for _ in range(40):
            clocked.report(after=0.1)
            sent += "topology" in clocked.update()
        return sent

    assert sent_in_40_reports() == 40  # the worker has just joined
    clocked.report(after=2)
    assert 4 <= sent_in_40_reports() <= 5
    clocked.report(0.1, ReplicaState.SLOW)
    assert clocked.update()["topology"]["rng"]["replicas"][0]["state"] == "slow"  # at once


def test_a_snapshot_has_what_updates_have_sent(clocked: Clocked) -> None:
    clocked.report(after=0)
    sent = clocked.update()
    snapshot = json.loads(clocked.state.snapshot().partition(b"data: ")[2])
    assert all(snapshot[name] == sent[name] for name in ("topology", "coin_statistics", "hashes", "load_tests"))
    assert set(snapshot) - set(sent) == {"annotations", "shown_seconds"}


def test_a_worker_is_shown_with_the_service_it_waits_for_and_goes_when_it_is_silent(clocked: Clocked) -> None:
    def shown() -> tuple[str, bool, str, list[str]]:
        sent = clocked.update()
        (worker,) = sent["topology"]["worker"]["replicas"]
        return worker["state"], worker["speed"] > 0, worker["waits_for"], sent["waits_for"]

    clocked.report(after=0)
    clocked.update()
    clocked.report(after=1, waits_for="hasher")
    assert shown() == ("waiting", True, "hasher", ["hasher"])
    clocked.report(after=1)
    assert shown() == ("serving", True, "", [])
    clocked.clock += 60
    clocked.state.ignore_gap(60)  # Redis was away
    assert clocked.update()["workers"] == 1
    clocked.clock += 3.1
    assert shown() == ("gone", False, "", [])
    clocked.clock += 10
    assert clocked.update()["topology"]["worker"]["replicas"] == []
