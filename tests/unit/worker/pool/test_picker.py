"""Which replica gets the next batch, and what is reported of each; times are seconds of an arbitrary clock."""

from collections import Counter

import pytest
from support.fake_streams import Picking

from chassis.redis.schema import GONE_LISTED_S, MAX_REPLICAS, ReplicaState
from chassis.telemetry.metrics import bucket


@pytest.fixture
def picker() -> Picking:
    return Picking(8)


def test_the_replica_with_the_fewest_outstanding_batches_is_next_and_equals_take_turns(picker: Picking) -> None:
    """However many streams or addresses it has; its streams take turns, too."""
    picker.join("a", "b", "b", "c")
    sent = picker.send(6)
    assert Counter(stream.replica for stream in sent) == {"a": 2, "b": 2, "c": 2}
    assert len({stream.replica for stream in sent[:3]}) == 3
    one, other = [stream for stream in sent if stream.replica == "b"]
    assert one is not other
    picker.complete(other)
    assert picker.send()[0].replica == "b"


def test_the_last_choice_is_picked_only_if_no_other_has_room(picker: Picking) -> None:
    picker.join("a", "b")
    assert {stream.replica for stream in picker.send(8, avoid="a")} == {"b"}
    assert picker.send(1, avoid="a")[0].replica == "a"


def test_a_stream_holds_twice_an_equal_share_of_the_window_at_most(picker: Picking) -> None:
    """So a frozen replica of three can't hold all of it."""
    picker.join("frozen")
    picker.send(16)
    assert picker.pick("") is None
    picker.join("b", "c")
    assert picker.send(12)[0].replica != "frozen"
    assert picker.pick("") is None
    picker.window = 16
    assert picker.pick("") is not None


def test_a_draining_stream_gets_nothing_and_counts_until_it_ends(picker: Picking) -> None:
    leaving, _ = picker.join("a", "a")
    picker.send(4)
    picker.drain(leaving)
    picker.join("b")
    assert picker.send(4)[0].replica == "b"
    picker.remove(leaving, 0.0)
    assert picker.send()[0].replica == "a"
    assert sorted(picker.replicas) == ["a", "b"]


def test_states_follow_what_streams_do_and_a_change_is_reported_once(picker: Picking) -> None:
    assert picker.changes(0.0, a="10.0.0.1:50051", unnamed="10.0.0.2:50051")
    assert picker.states == {"a": "connecting", "unnamed": "connecting"}
    [stream] = picker.join("a")
    assert picker.changes(1.0)
    assert not picker.changes(1.1)
    assert picker.states == {"a": "serving"}  # an address that never served is forgotten
    picker.send()
    picker.drain(stream)
    assert picker.changes(3.0)
    assert picker.states == {"a": "draining"}
    picker.remove(stream, 0.0)
    assert picker.changes(4.0, a="10.0.0.1:50051")
    assert picker.states == {"a": "connecting"}
    assert picker.changes(5.0)
    assert not picker.changes(5.0 + GONE_LISTED_S)
    assert picker.states == {"a": "gone"}
    picker.changes(5.1 + GONE_LISTED_S)
    assert picker.states == {}


def test_batches_and_latencies_are_in_one_snapshot_and_in_all_totals(picker: Picking) -> None:
    picker.join("a", "b")
    a, b = picker.replicas.values()
    for latency in (0.001, 0.001, 0.5):
        a.observe(latency, 1.0, 1)
    b.observe(None, 1.0, 1)
    one, other = picker.snapshot(0.0)
    assert (one.name, one.address, one.batches) == ("a", "a:50051", 3)
    assert one.latency == {bucket(0.001): 2, bucket(0.5): 1}
    assert (other.batches, other.latency) == (1, {})
    a.observe(0.002, 1.0, 1)
    stats = picker.snapshot(0.0)
    assert [(each.batches, each.latency) for each in stats] == [
        (1, {bucket(0.002): 1}),
        (0, {}),
    ]
    assert [each.completed for each in picker.listed] == [4, 1]


def test_a_snapshot_has_the_time_with_batches_outstanding_their_queue_and_the_latency_without_one(
    picker: Picking,
) -> None:
    [stream] = picker.join("a")
    first, second = picker.send(2, now=1.0)
    picker.complete(first, 1.25)
    picker.complete(second, 1.5)
    picker.send(now=2.0)
    [stats] = picker.snapshot(2.25)
    assert (stats.busy_s, stats.outstanding_s, stats.unqueued_s) == (0.75, 1.0, 0.25)
    picker.complete(stream, 2.5)
    [stats] = picker.snapshot(3.0)
    assert (stats.busy_s, stats.outstanding_s, stats.batches) == (0.25, 0.25, 1)


def test_replicas_that_serve_are_listed_first_where_not_all_can_be(picker: Picking) -> None:
    for stream in picker.join(*(f"old-{number}" for number in range(10))):
        picker.remove(stream, 0.0)
    picker.join(*(f"rng-{number:02}" for number in range(MAX_REPLICAS)))
    picker.changes(0.0)
    assert [each.state for each in picker.snapshot(0.0)] == [ReplicaState.SERVING] * MAX_REPLICAS
