from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.redis.schema import EndpointState, ReplicaStats
from webui_svc.fleet import MOST_LISTED, UNSEEN_LIMIT, WINDOW, Fleet
from webui_svc.workers import GONE_LISTED


def replica(
    name: str, batches: int = 10, state: EndpointState = EndpointState.SERVING, bucket: int = 67
) -> ReplicaStats:
    return ReplicaStats(name, f"{name}:50051", state, batches, {bucket: batches} if batches else {})


def listed(fleet: Fleet) -> dict[str, Any]:
    return {each["name"]: each for each in fleet.replicas()["replicas"]}


def states(fleet: Fleet) -> dict[str, str]:
    return {name: each["state"] for name, each in listed(fleet).items()}


def see(fleet: Fleet, clock: float, *replicas: ReplicaStats, worker: str = "a") -> None:
    """Have the one worker there is see these replicas."""
    fleet.hear(worker, clock, 1.0, replicas)
    fleet.settle({worker}, clock)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_shares_rates_and_latencies_are_those_of_all_workers_together(fleet: Fleet) -> None:
    fleet.hear("a", 0, 2.0, [replica("rng-1", 30), replica("rng-2", 10), replica("rng-3", 0)])
    fleet.hear("b", 0, 1.0, [replica("rng-1", 35, bucket=80)])
    fleet.settle({"a", "b"}, 0)
    one, two, three = listed(fleet).values()
    assert (one["share"], one["rate"]) == (round(65 / 75, 4), 50)
    assert (two["share"], two["rate"]) == (round(10 / 75, 4), 5)
    assert one["p50"] == pytest.approx(2 ** (80 / 4) / 1e6, rel=0.19)
    assert two["p99"] == pytest.approx(0.1, rel=0.19)
    nothing = {"share": 0, "rate": 0, "p50": None, "p99": None}
    assert three == {"name": "rng-3", "address": "rng-3:50051", "state": "serving", **nothing}


def test_the_last_few_seconds_of_workers_that_are_there_count(fleet: Fleet) -> None:
    fleet.hear("a", 0, 1.0, [replica("rng-1", 1_000)])
    fleet.hear("a", WINDOW, 1.0, [replica("rng-1", 10)])
    fleet.hear("b", WINDOW, 1.0, [replica("rng-1", 90), replica("rng-2", 10, EndpointState.SLOW)])
    fleet.settle({"a"}, WINDOW + 0.1)
    assert listed(fleet).keys() == {"rng-1"}
    assert listed(fleet)["rng-1"]["rate"] == 10


def test_what_one_who_reports_rarely_saw_counts_until_its_next_report(fleet: Fleet) -> None:
    fleet.hear("a", 0, 60.0, [replica("rng-1", 600)], report_interval=60)
    for second in range(60):
        fleet.hear("b", second, 1.0, [replica("rng-1", 5)])
        fleet.settle({"a", "b"}, second)
        assert listed(fleet)["rng-1"]["rate"] == 15
    fleet.hear("a", 60, 60.0, [replica("rng-1", 1_200)], report_interval=60)
    fleet.settle({"a", "b"}, 100)
    assert listed(fleet)["rng-1"]["rate"] == 20


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (EndpointState.SERVING, EndpointState.GONE, "serving"),
        (EndpointState.SERVING, EndpointState.SLOW, "slow"),
        (EndpointState.GONE, EndpointState.SLOW, "slow"),
        (EndpointState.SERVING, EndpointState.EJECTED, "ejected"),
        (EndpointState.SLOW, EndpointState.EJECTED, "ejected"),
        (EndpointState.SERVING, EndpointState.SERVING, "serving"),
        (EndpointState.SERVING, EndpointState.DRAINING, "serving"),
        (EndpointState.DRAINING, EndpointState.CONNECTING, "draining"),
        (EndpointState.CONNECTING, EndpointState.GONE, "connecting"),
    ],
)
def test_workers_that_differ_agree_on_the_worse_of_what_both_can_be(
    fleet: Fleet, one: EndpointState, other: EndpointState, together: str
) -> None:
    fleet.hear("a", 0, 1.0, [replica("rng-1", state=one)])
    fleet.hear("b", 0, 1.0, [replica("rng-1", state=other)])
    fleet.settle({"a", "b"}, 0)
    assert states(fleet) == {"rng-1": together}


def test_one_that_is_gone_is_listed_for_a_while_and_back_when_it_serves_again(fleet: Fleet) -> None:
    gone = replica("rng-1", 0, EndpointState.GONE)
    see(fleet, 0, gone)
    assert states(fleet) == {}  # nobody saw it serve
    for clock, state, present in (
        (1, EndpointState.CONNECTING, set()),
        (2, EndpointState.SERVING, {"rng-1"}),
        (3, EndpointState.GONE, set()),
        (4, EndpointState.SERVING, {"rng-1"}),
        (5, EndpointState.CONNECTING, set()),
    ):
        see(fleet, clock, replica("rng-1", 0, state))
        assert (states(fleet), fleet.present) == ({"rng-1": state.value}, present)
    see(fleet, 5 + GONE_LISTED, gone)
    assert states(fleet) == {"rng-1": "gone"}
    fleet.settle({"a"}, 5.1 + GONE_LISTED)
    assert states(fleet) == {}


def test_one_that_no_worker_lists_any_more_is_gone_after_a_while(fleet: Fleet) -> None:
    see(fleet, 0, replica("rng-1"), replica("rng-2"))
    see(fleet, 1, replica("rng-1"), worker="b")
    assert fleet.present == {"rng-1", "rng-2"}
    see(fleet, 1 + UNSEEN_LIMIT, replica("rng-1"), worker="b")
    assert states(fleet) == {"rng-1": "serving", "rng-2": "gone"}


def test_time_without_redis_makes_no_replica_go_but_without_workers_none_is_known(fleet: Fleet) -> None:
    see(fleet, 0, replica("rng-1"))
    fleet.excuse(60)
    fleet.settle({"a"}, 60)
    assert (states(fleet), fleet.present) == ({"rng-1": "serving"}, {"rng-1"})
    fleet.settle(set(), 61)
    assert (states(fleet), fleet.present) == ({}, None)


def test_a_few_are_listed_in_the_order_of_their_names(fleet: Fleet) -> None:
    see(fleet, 0, *(replica(f"rng-{number}") for number in range(20, 0, -1)))
    assert list(listed(fleet)) == [f"rng-{number}" for number in range(1, MOST_LISTED + 1)]
    assert fleet.replicas()["more"] == 4


VIEWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0.0, 2.0), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9))),
    max_size=40,
)


@given(VIEWS)
def test_whatever_was_heard_leaves_nothing_behind(views: list[tuple[str, float, dict[str, int]]]) -> None:
    fleet = Fleet()
    clock = 0.0
    for worker, pause, batches in views:
        clock += pause
        fleet.hear(worker, clock, pause, [replica(name, count) for name, count in batches.items()])
        fleet.settle({"a", "b"}, clock)
        assert sum(each["share"] for each in listed(fleet).values()) <= 1.001
    fleet.settle({"a", "b"}, clock + 100)
    assert (fleet._traffic, fleet._counted, fleet._seconds) == ({}, [], {})
