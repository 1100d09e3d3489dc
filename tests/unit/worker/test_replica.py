"""What is reported of each replica; times are seconds of an arbitrary clock."""

import pytest
from support.fake_streams import Picking

from chassis.redis.schema import GONE_LISTED_S, MAX_REPLICAS, ReplicaState
from chassis.telemetry.metrics import bucket


@pytest.fixture
def picker() -> Picking:
    return Picking(8)


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
    one, other = picker.replicas.snapshot(0.0)
    assert (one.name, one.address, one.batches) == ("a", "a:50051", 3)
    assert one.latency == {bucket(0.001): 2, bucket(0.5): 1}
    assert (other.batches, other.latency) == (1, {})
    a.observe(0.002, 1.0, 1)
    stats = picker.replicas.snapshot(0.0)
    assert [(each.batches, each.latency) for each in stats] == [
        (1, {bucket(0.002): 1}),
        (0, {}),
    ]
    assert [each.completed for each in picker.replicas.listed] == [4, 1]


def test_a_snapshot_has_the_time_with_batches_outstanding_their_queue_and_the_latency_without_one(
    picker: Picking,
) -> None:
    [stream] = picker.join("a")
    first, second = picker.send(2, now=1.0)
    picker.complete(first, 1.25)
    picker.complete(second, 1.5)
    picker.send(now=2.0)
    [stats] = picker.replicas.snapshot(2.25)
    assert (stats.busy_s, stats.outstanding_s, stats.unqueued_s) == (0.75, 1.0, 0.25)
    picker.complete(stream, 2.5)
    [stats] = picker.replicas.snapshot(3.0)
    assert (stats.busy_s, stats.outstanding_s, stats.batches) == (0.25, 0.25, 1)


def test_replicas_that_serve_are_listed_first_where_not_all_can_be(picker: Picking) -> None:
    for stream in picker.join(*(f"old-{number}" for number in range(10))):
        picker.remove(stream, 0.0)
    picker.join(*(f"rng-{number:02}" for number in range(MAX_REPLICAS)))
    picker.changes(0.0)
    assert [each.state for each in picker.replicas.snapshot(0.0)] == [ReplicaState.SERVING] * MAX_REPLICAS
