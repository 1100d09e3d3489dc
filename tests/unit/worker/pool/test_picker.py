"""Which replica gets the next batch; times are seconds of an arbitrary clock."""

from collections import Counter

import pytest
from support.fake_streams import Picking


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
