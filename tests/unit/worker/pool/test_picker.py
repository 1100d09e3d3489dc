"""Which replica gets the next batch, and what is reported of each; times are seconds of an arbitrary clock."""

from collections import Counter

import pytest
from support.fake_streams import stream_to

from chassis.endpoint_state import EndpointState
from chassis.latency_buckets import bucket
from chassis.stored import MAX_BACKENDS
from worker_svc.batch import Batch
from worker_svc.pool.endpoint import Stream
from worker_svc.pool.picker import GONE_LISTED_S, Picker

ENDLESS = float("-inf")


class Picking:
    """A picker whose batches are sent and completed by the test."""

    def __init__(self, window: int = 8) -> None:
        self.picker = Picker(window)
        self.sent: Counter[str] = Counter()
        self._id = 0

    def join(self, *replicas: str) -> list[Stream]:
        streams = [stream_to(name) for name in replicas]
        for stream in streams:
            self.picker.add(stream)
        return streams

    def send(self, batches: int = 1, avoid: str | None = None) -> list[Stream]:
        picked = []
        for _ in range(batches):
            stream = self.picker.pick(avoid)
            assert stream is not None
            self._id += 1
            self.picker.sent(stream)
            stream.send(Batch(self._id, 1, 32, 0.0), 0.0)
            self.sent[stream.replica or ""] += 1
            picked.append(stream)
        return picked

    def complete(self, stream: Stream) -> None:
        stream.outstanding.pop(next(iter(stream.outstanding)))
        self.picker.completed(stream)

    def update(self, now: float, slow_before: float = ENDLESS, **connecting: str) -> bool:
        return self.picker.update(now, slow_before=slow_before, connecting=connecting)

    @property
    def states(self) -> dict[str, str]:
        return {each.name: each.state.value for each in self.picker.snapshot()}


@pytest.fixture
def picking() -> Picking:
    return Picking()


def test_the_replica_with_the_fewest_outstanding_batches_is_next_and_equals_take_turns(picking: Picking) -> None:
    picking.join("a", "b", "b", "c")
    assert len({stream.replica for stream in picking.send(3)}) == 3
    [second] = [stream for stream in picking.send(3) if stream.replica == "b"]
    picking.complete(second)
    assert picking.send()[0].replica == "b"
    assert picking.sent == {"a": 2, "b": 3, "c": 2}


def test_streams_of_one_replica_take_turns(picking: Picking) -> None:
    picking.join("a", "a")
    assert len(set(picking.send(2))) == 2


def test_a_replica_with_two_addresses_gets_the_share_of_one(picking: Picking) -> None:
    picking.join("a", "a", "a", "a", "b", "b")
    picking.send(8)
    assert picking.sent == {"a": 4, "b": 4}


def test_the_last_choice_is_picked_only_if_no_other_has_room(picking: Picking) -> None:
    picking.join("a", "b")
    assert {stream.replica for stream in picking.send(8, avoid="a")} == {"b"}
    assert picking.send(1, avoid="a")[0].replica == "a"


def test_a_stream_holds_twice_an_equal_share_of_the_window_at_most(picking: Picking) -> None:
    """So a frozen replica of three can't hold all of it."""
    picking.join("frozen")
    picking.send(16)
    assert picking.picker.pick(None) is None
    picking.join("b", "c")
    assert picking.send(12)[0].replica != "frozen"
    assert picking.picker.pick(None) is None
    picking.picker.window = 16
    assert picking.picker.pick(None) is not None


def test_a_draining_stream_gets_nothing_and_counts_until_it_ends(picking: Picking) -> None:
    leaving, _ = picking.join("a", "a")
    picking.send(4)
    picking.picker.drain(leaving)
    picking.join("b")
    assert picking.send(4)[0].replica == "b"
    picking.picker.remove(leaving)
    assert picking.send()[0].replica == "a"
    assert picking.picker.names == ["a", "b"]


def test_an_ejected_replica_gets_nothing(picking: Picking) -> None:
    streams = picking.join("a", "a")
    picking.send(4)
    assert picking.picker.eject("a") == set(streams)
    assert picking.picker.pick(None) is None
    picking.picker.remove(streams[0])
    picking.picker.update(0.0, slow_before=ENDLESS, connecting={}, ejected=["a"])
    assert picking.states == {"a": "ejected"}


def test_states_follow_what_streams_do_and_a_change_is_reported_once(picking: Picking) -> None:
    assert picking.update(0.0, a="10.0.0.1:50051")
    assert picking.states == {"a": "connecting"}
    [stream] = picking.join("a")
    assert picking.update(1.0)
    assert not picking.update(1.1)
    assert picking.states == {"a": "serving"}
    picking.send()
    assert picking.update(2.0, slow_before=1.0)
    assert picking.states == {"a": "slow"}
    picking.picker.drain(stream)
    assert picking.update(3.0)
    assert picking.states == {"a": "draining"}
    picking.picker.remove(stream)
    assert picking.update(4.0, a="10.0.0.1:50051")
    assert picking.states == {"a": "connecting"}
    assert picking.update(5.0)
    assert picking.states == {"a": "gone"}
    assert not picking.update(4.0 + GONE_LISTED_S)
    assert picking.states == {"a": "gone"}
    picking.update(4.1 + GONE_LISTED_S)
    assert picking.states == {}


def test_an_address_that_never_served_is_forgotten_as_soon_as_its_replica_is_known(picking: Picking) -> None:
    picking.update(0.0, unnamed="10.0.0.1:50051")
    picking.join("a")
    picking.update(0.1)
    assert picking.states == {"a": "serving"}


def test_batches_and_latencies_are_in_one_snapshot_and_in_all_totals(picking: Picking) -> None:
    a, b = picking.join("a", "b")
    picking.update(0.0)
    for latency in (0.001, 0.001, 0.5):
        picking.picker.observe(a, latency)
    picking.picker.observe(b, None)
    one, other = picking.picker.snapshot()
    assert (one.name, one.address, one.batches) == ("a", "a:50051", 3)
    assert one.latency == {bucket(0.001): 2, bucket(0.5): 1}
    assert (other.batches, other.latency) == (1, {})
    picking.picker.observe(a, 0.002)
    assert [(each.batches, each.latency) for each in picking.picker.snapshot()] == [(1, {bucket(0.002): 1}), (0, {})]
    assert [each.completed for each in picking.picker.replicas] == [4, 1]


def test_replicas_that_serve_are_listed_first_where_not_all_can_be(picking: Picking) -> None:
    for stream in picking.join(*(f"old-{number}" for number in range(10))):
        picking.picker.remove(stream)
    picking.join(*(f"rng-{number:02}" for number in range(MAX_BACKENDS)))
    picking.update(0.0)
    assert [each.state for each in picking.picker.snapshot()] == [EndpointState.SERVING] * MAX_BACKENDS


def test_replicas_that_come_and_go_take_no_more_and_more_room(picking: Picking) -> None:
    for number in range(1_000):
        [stream] = picking.join(f"rng-{number}")
        picking.update(float(number))
        picking.picker.remove(stream)
    picking.update(1_000.0)
    assert len(picking.states) <= GONE_LISTED_S + 2
    picking.picker.completed(stream_to("rng-1"))  # a late response of one that is long forgotten
