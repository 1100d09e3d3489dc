"""Which replica gets the next batch, and what is reported of each; times are seconds of an arbitrary clock."""

from collections import Counter

import pytest
from support.fake_streams import stream_to

from chassis.redis.schema import GONE_LISTED_S, MAX_REPLICAS, ReplicaState
from chassis.telemetry.metrics import bucket
from worker_svc.batch import Batch
from worker_svc.pool.endpoint import Stream
from worker_svc.pool.picker import Picker


class Picking(Picker):
    """Its batches are sent and completed by the test."""

    def join(self, *replicas: str) -> list[Stream]:
        streams = [stream_to(name) for name in replicas]
        for stream in streams:
            self.add(stream, 0.0)
        return streams

    def send(self, batches: int = 1, avoid: str = "", now: float = 0.0) -> list[Stream]:
        picked = []
        for _ in range(batches):
            stream = self.pick(avoid)
            assert stream is not None
            self.sent(stream, now)
            stream.send(Batch(len(stream.outstanding), 1, 32, 0.0), now)
            picked.append(stream)
        return picked

    def complete(self, stream: Stream, now: float = 0.0) -> None:
        _, attempt = stream.outstanding.popitem()
        replica = self.replicas[stream.replica]
        replica.account(now, -1)
        replica.observe(now - attempt.sent_at, attempt.sent_at, 1)

    def changes(self, now: float, slow_before: float = float("-inf"), **connecting: str) -> bool:
        return self.update(now, slow_before=slow_before, connecting=connecting)

    @property
    def states(self) -> dict[str, str]:
        return {each.name: each.state.value for each in self.listed}


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
    assert picker.changes(2.0, slow_before=1.0)
    assert picker.states == {"a": "slow"}
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
    assert [(each.batches, each.latency) for each in picker.snapshot(0.0)] == [(1, {bucket(0.002): 1}), (0, {})]
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


@pytest.mark.parametrize("latency", [0.5, None])
def test_a_replica_far_slower_than_its_peers_is_slow_within_3_s_and_for_3_s_after_that(
    picker: Picking, latency: float | None
) -> None:
    """One takes five times as long as its peers, or does not respond at all; its peers are not slow meanwhile."""
    peers, slow = picker.join("a", "b"), picker.join("c")[0]
    slow_at, states = [], []
    sent_at = 0.0
    for now in (tenth / 10 for tenth in range(1, 200)):
        for stream in peers:
            if stream.outstanding:
                picker.complete(stream, now)
            picker.sent(stream, now)
            stream.send(Batch(1, 1, 32, now), now)
        if slow.outstanding and (now > 10 or (latency is not None and now - sent_at >= latency)):
            picker.complete(slow, now)
        if not slow.outstanding:
            sent_at = now
            picker.sent(slow, now)
            slow.send(Batch(1, 1, 32, now), now)
        picker.changes(now)
        states.append(picker.states)
        if picker.states["c"] == "slow":
            slow_at.append(now)
    assert slow_at[0] <= 3
    assert slow_at[-1] - slow_at[0] == pytest.approx((len(slow_at) - 1) / 10)
    assert 10 < slow_at[-1] < 18
    assert all((each["a"], each["b"]) == ("serving", "serving") for each in states)


def test_replicas_that_serve_are_listed_first_where_not_all_can_be(picker: Picking) -> None:
    for stream in picker.join(*(f"old-{number}" for number in range(10))):
        picker.remove(stream, 0.0)
    picker.join(*(f"rng-{number:02}" for number in range(MAX_REPLICAS)))
    picker.changes(0.0)
    assert [each.state for each in picker.snapshot(0.0)] == [ReplicaState.SERVING] * MAX_REPLICAS
