from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.redis.schema import GONE_LISTED_S, ReplicaState, ReplicaStats
from webui_svc.replicas import MAX_LISTED, UNSEEN_LIMIT_S, WINDOW_S, ReplicaStatistics


def replica(name: str, batches: int = 10, state: ReplicaState = ReplicaState.SERVING, bucket: int = 67) -> ReplicaStats:
    return ReplicaStats(name, f"{name}:50051", state, batches, {bucket: batches} if batches else {})


def listed(statistics: ReplicaStatistics) -> dict[str, Any]:
    return {each["name"]: each for each in statistics.figures()["replicas"]}


def states(statistics: ReplicaStatistics) -> dict[str, str]:
    return {name: each["state"] for name, each in listed(statistics).items()}


def see(statistics: ReplicaStatistics, clock: float, *replicas: ReplicaStats, worker: str = "a") -> None:
    """Have the one worker there is see these replicas."""
    statistics.ingest(worker, clock, 1.0, replicas)
    statistics.finalize({worker}, clock)


@pytest.fixture
def statistics() -> ReplicaStatistics:
    return ReplicaStatistics()


def test_shares_rates_and_latencies_are_those_of_all_workers_together(statistics: ReplicaStatistics) -> None:
    statistics.ingest("a", 0, 2.0, [replica("rng-1", 30), replica("rng-2", 10), replica("rng-3", 0)])
    statistics.ingest("b", 0, 1.0, [replica("rng-1", 35, bucket=80)])
    statistics.finalize({"a", "b"}, 0)
    one, two, three = listed(statistics).values()
    assert (one["share"], one["rate"]) == (round(65 / 75, 4), 50)
    assert (two["share"], two["rate"]) == (round(10 / 75, 4), 5)
    assert one["p50"] == pytest.approx(2 ** (80 / 4) / 1e6, rel=0.19)
    assert two["p99"] == pytest.approx(0.1, rel=0.19)
    nothing = {
        "share": 0,
        "rate": 0,
        "p50": None,
        "p99": None,
        "busy": 0,
        "queue": 0,
        "service_time": None,
    }
    assert three == {"name": "rng-3", "address": "rng-3:50051", "state": "serving", **nothing}


def test_the_last_few_seconds_of_workers_that_are_there_count(statistics: ReplicaStatistics) -> None:
    statistics.ingest("a", 0, 1.0, [replica("rng-1", 1_000)])
    statistics.ingest("a", WINDOW_S, 1.0, [replica("rng-1", 10)])
    statistics.ingest("b", WINDOW_S, 1.0, [replica("rng-1", 90), replica("rng-2", 10)])
    statistics.finalize({"a"}, WINDOW_S + 0.1)
    assert listed(statistics).keys() == {"rng-1"}
    assert listed(statistics)["rng-1"]["rate"] == 10


def test_shares_are_of_the_time_since_a_replica_joined_or_left(statistics: ReplicaStatistics) -> None:
    def shares() -> list[float]:
        return [each["share"] for each in listed(statistics).values()]

    for clock in (0, 1):
        see(statistics, clock, replica("rng-1", 30))
    see(statistics, 1.5, replica("rng-1", 15), replica("rng-2", 0))  # at once, of the time before
    assert shares() == [1, 0]
    see(statistics, 2.5, replica("rng-1", 15), replica("rng-2", 15))
    assert shares() == [0.5, 0.5]
    assert listed(statistics)["rng-1"]["rate"] == 15
    see(statistics, 3.5, replica("rng-1", 15), replica("rng-2", 14))
    assert shares() == [round(30 / 59, 4), round(29 / 59, 4)]
    see(statistics, 3.7, replica("rng-1", 3), replica("rng-2", 3, ReplicaState.GONE))
    see(statistics, 4.7, replica("rng-1", 30), replica("rng-2", 0, ReplicaState.GONE))
    assert shares() == [1, 0]


def test_the_statistics_of_a_worker_that_reports_rarely_count_until_its_next_report(
    statistics: ReplicaStatistics,
) -> None:
    statistics.ingest("a", 0, 60.0, [replica("rng-1", 600)], report_interval_s=60)
    for second in range(60):
        statistics.ingest("b", second, 1.0, [replica("rng-1", 5)])
        statistics.finalize({"a", "b"}, second)
        assert listed(statistics)["rng-1"]["rate"] == 15
    statistics.ingest("a", 60, 60.0, [replica("rng-1", 1_200)], report_interval_s=60)
    statistics.finalize({"a", "b"}, 100)
    assert listed(statistics)["rng-1"]["rate"] == 20


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (ReplicaState.SERVING, ReplicaState.GONE, "serving"),
        (ReplicaState.SERVING, ReplicaState.EJECTED, "ejected"),
        (ReplicaState.SERVING, ReplicaState.SERVING, "serving"),
        (ReplicaState.SERVING, ReplicaState.DRAINING, "serving"),
        (ReplicaState.DRAINING, ReplicaState.CONNECTING, "draining"),
        (ReplicaState.CONNECTING, ReplicaState.GONE, "connecting"),
    ],
)
def test_workers_that_differ_agree_on_the_worse_of_what_both_can_be(
    statistics: ReplicaStatistics, one: ReplicaState, other: ReplicaState, together: str
) -> None:
    statistics.ingest("a", 0, 1.0, [replica("rng-1", state=one)])
    statistics.ingest("b", 0, 1.0, [replica("rng-1", state=other)])
    statistics.finalize({"a", "b"}, 0)
    assert states(statistics) == {"rng-1": together}


@pytest.mark.parametrize("latency", [0.5, None])
def test_a_replica_far_slower_than_its_peers_is_slow_within_3_s_and_for_some_seconds_after_that(
    statistics: ReplicaStatistics, latency: float | None
) -> None:
    """One takes five times as long as its peers, or does not respond at all; its peers are not slow meanwhile."""

    def stats(name: str, taken_s: float | None) -> ReplicaStats:
        batches = round(1 / taken_s) if taken_s else 0
        return ReplicaStats(name, "", ReplicaState.SERVING, batches, {}, busy_s=1.0, outstanding_s=1.0)

    seen = []
    for clock in range(30):
        taken_s = latency if 5 <= clock < 15 else 0.1
        for worker in "ab":
            statistics.ingest(worker, clock, 1.0, [stats("rng-1", 0.1), stats("rng-2", taken_s), stats("rng-3", 0.15)])
        statistics.finalize({"a", "b"}, clock)
        seen.append(states(statistics))
    assert {(each["rng-1"], each["rng-3"]) for each in seen} == {("serving", "serving")}
    slow = [clock for clock, each in enumerate(seen) if each["rng-2"] == "slow"]
    assert slow == list(range(slow[0], slow[-1] + 1))
    assert 5 <= slow[0] <= 7
    assert 15 <= slow[-1] <= 20


def test_what_many_workers_share_is_not_slow_because_batches_of_some_wait(statistics: ReplicaStatistics) -> None:
    """A lone replica has no peers, however long its queue is; and chance makes some batches wait far longer."""
    lone = ReplicaStats("hasher-1", "", ReplicaState.SERVING, 1, {}, busy_s=0.8, outstanding_s=0.8)
    see(statistics, 0, lone)
    assert states(statistics) == {"hasher-1": "serving"}
    statistics = ReplicaStatistics()
    for clock in range(10):
        for number in range(10):
            waits_s = 0.4 if number == clock % 10 else 0.1
            busy = {"busy_s": waits_s, "outstanding_s": waits_s}
            rngs = [ReplicaStats(f"rng-{each}", "", ReplicaState.SERVING, 1, {}, **busy) for each in (1, 2)]
            statistics.ingest(f"{number}", clock, 1.0, [rngs[number % 2], replica("rng-3", 0)])
        statistics.finalize({f"{number}" for number in range(10)}, clock)
        assert set(states(statistics).values()) == {"serving"}


def test_the_latency_of_a_cold_start_does_not_make_a_busy_replica_one_with_free_slots(
    statistics: ReplicaStatistics,
) -> None:
    """A window of eight batches at one hasher, of which each but the first met others."""
    hasher = ReplicaStats("hasher-1", "hasher-1:50151", ReplicaState.SERVING, 36, {67: 6, 71: 30}, 1.0, 6.7, 0.5)
    see(statistics, 0, hasher)
    statistics.figures()
    [load] = statistics.used
    assert load.capacity == pytest.approx(36)
    assert load.waiting > 2


def test_one_that_is_gone_is_listed_for_a_while_and_back_when_it_serves_again(statistics: ReplicaStatistics) -> None:
    gone = replica("rng-1", 0, ReplicaState.GONE)
    see(statistics, 0, gone)
    assert states(statistics) == {}  # no worker saw it serve
    there, away = ReplicaState.SERVING, ReplicaState.CONNECTING
    for clock, state in enumerate((away, there, ReplicaState.GONE, there, away), 1):
        see(statistics, clock, replica("rng-1", 0, state))
        assert states(statistics) == {"rng-1": state.value}
    see(statistics, 5 + GONE_LISTED_S, gone)
    assert states(statistics) == {"rng-1": "gone"}
    statistics.finalize({"a"}, 5.1 + GONE_LISTED_S)
    assert states(statistics) == {}


def test_one_that_was_listed_by_its_address_is_not_listed_twice_once_its_name_is_known(
    statistics: ReplicaStatistics,
) -> None:
    unnamed = ReplicaStats("rng-1:50051", "rng-1:50051", ReplicaState.CONNECTING, 0, {})
    see(statistics, 0, unnamed)
    assert states(statistics) == {"rng-1:50051": "connecting"}
    see(statistics, 1, replica("rng-1"))
    assert states(statistics) == {"rng-1": "serving"}


def test_one_that_no_worker_lists_any_more_is_gone_after_a_while(statistics: ReplicaStatistics) -> None:
    see(statistics, 0, replica("rng-1"), replica("rng-2"))
    see(statistics, 1, replica("rng-1"), worker="b")
    assert states(statistics) == {"rng-1": "serving", "rng-2": "serving"}
    see(statistics, 1 + UNSEEN_LIMIT_S, replica("rng-1"), worker="b")
    assert states(statistics) == {"rng-1": "serving", "rng-2": "gone"}


def test_time_without_redis_makes_no_replica_go_but_time_without_workers_does(
    statistics: ReplicaStatistics,
) -> None:
    see(statistics, 0, replica("rng-1"))
    statistics.ignore_gap(60)
    statistics.finalize({"a"}, 60)
    assert states(statistics) == {"rng-1": "serving"}
    statistics.finalize(set(), 61)
    assert states(statistics) == {}


def test_a_few_are_listed_in_the_order_of_their_names(statistics: ReplicaStatistics) -> None:
    see(statistics, 0, *(replica(f"rng-{number}") for number in range(20, 0, -1)))
    assert list(listed(statistics)) == [f"rng-{number}" for number in range(1, MAX_LISTED + 1)]
    assert statistics.figures()["more"] == 4


SNAPSHOTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0.0, 2.0), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9))),
    max_size=40,
)


@given(SNAPSHOTS)
def test_ingested_statistics_leave_nothing_behind(snapshots: list[tuple[str, float, dict[str, int]]]) -> None:
    statistics = ReplicaStatistics()
    clock = 0.0
    for worker, pause, batches in snapshots:
        clock += pause
        statistics.ingest(worker, clock, pause, [replica(name, count) for name, count in batches.items()])
        statistics.finalize({"a", "b"}, clock)
        assert sum(each["share"] for each in listed(statistics).values()) <= 1.001
    statistics.finalize({"a", "b"}, clock + 100)
    assert all(len(seen) == 1 for seen in statistics._seen.values())
    statistics.finalize(set(), clock + 100)
    assert statistics._seen == {}
