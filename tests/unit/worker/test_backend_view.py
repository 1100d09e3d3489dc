"""What is told of backends from one report to the next; times are seconds of an arbitrary clock."""

import pytest

from chassis.backend_state import BackendState
from chassis.latency_buckets import bucket
from chassis.stored import MAX_BACKENDS
from worker_svc.backend_view import GONE_SECONDS, BackendView


@pytest.fixture
def view() -> BackendView:
    return BackendView()


def states(view: BackendView) -> dict[str, BackendState]:
    return {each.name: each.state for each in view.take()}


def test_batches_and_latencies_are_counted_by_backend(view: BackendView) -> None:
    view.look(["a", "b"], [], 0.0)
    for latency in (0.001, 0.001, 0.5):
        view.answered("a", latency)
    view.answered("b", None)
    one, other = view.take()
    assert (one.name, one.batches, one.latency) == ("a", 3, {bucket(0.001): 2, bucket(0.5): 1})
    assert (other.name, other.batches, other.latency) == ("b", 1, {})


def test_what_was_told_is_told_once(view: BackendView) -> None:
    view.look(["a"], [], 0.0)
    view.answered("a", 0.001)
    told = view.take()
    view.answered("a", 0.002)
    assert (told[0].batches, told[0].latency) == (1, {bucket(0.001): 1})
    assert [(each.batches, each.latency) for each in view.take()] == [(1, {bucket(0.002): 1})]


def test_a_change_is_seen_once(view: BackendView) -> None:
    looks = [
        (["a"], [], True),
        (["a"], [], False),
        (["a", "b"], [], True),
        (["a", "b"], ["b"], True),
        (["a", "b"], ["b"], False),
        (["a", "b"], [], True),
        (["a"], [], True),
        (["a"], [], False),
        (["a", "b"], [], True),
    ]
    for now, (names, late, changed) in enumerate(looks):
        assert view.look(names, late, float(now)) is changed


def test_one_that_is_ejected_is_listed_as_long_as_it_is(view: BackendView) -> None:
    view.look(["a"], [], 0.0)
    assert view.look([], [], 1.0, ejected=["a"])
    assert not view.look([], [], 2 * GONE_SECONDS, ejected=["a"])
    assert states(view) == {"a": BackendState.EJECTED}
    assert view.look(["a"], [], 2 * GONE_SECONDS + 1)
    assert states(view) == {"a": BackendState.SERVING}


def test_a_backend_is_serving_late_or_gone(view: BackendView) -> None:
    view.look(["a", "b", "c"], [], 0.0)
    view.look(["a", "b"], ["b", "c"], 1.0)
    assert states(view) == {"a": BackendState.SERVING, "b": BackendState.LATE, "c": BackendState.GONE}


def test_one_that_is_gone_is_listed_for_ten_seconds(view: BackendView) -> None:
    view.look(["a"], [], 0.0)
    view.look([], [], GONE_SECONDS - 0.1)
    assert states(view) == {"a": BackendState.GONE}
    assert not view.look([], [], GONE_SECONDS + 0.1)
    assert states(view) == {}


def test_what_it_answered_before_it_went_is_told(view: BackendView) -> None:
    view.look(["a"], [], 0.0)
    view.answered("a", 0.001)
    view.look([], [], 1.0)
    view.answered("a", 0.001)
    assert [(each.state, each.batches) for each in view.take()] == [(BackendState.GONE, 2)]


def test_replicas_that_come_and_go_take_no_more_and_more_room(view: BackendView) -> None:
    for number in range(10_000):
        view.look([f"rng-{number}"], [], float(number))
    assert len(view.take()) <= GONE_SECONDS + 2


def test_an_answer_of_one_that_is_long_forgotten_is_no_failure(view: BackendView) -> None:
    view.answered("a", 40.0)
    assert view.take() == ()


def test_those_that_serve_are_listed_first_where_not_all_can_be(view: BackendView) -> None:
    view.look([f"old-{number:02}" for number in range(10)], [], 0.0)
    view.look([f"rng-{number:02}" for number in range(MAX_BACKENDS)], [], 1.0)
    assert [each.name for each in view.take()] == [f"rng-{number:02}" for number in range(MAX_BACKENDS)]


def test_what_each_did_since_it_came_grows_from_report_to_report(view: BackendView) -> None:
    view.look(["a", "b"], [], 0.0)
    for _ in range(2):
        view.answered("a", 0.001)
        view.answered("b", None)
        view.late("b")
        view.take()
    view.answered("a", 0.001)
    assert view.records() == (("a", 3, 0), ("b", 2, 2))


def test_one_that_was_forgotten_and_is_back_begins_at_nothing(view: BackendView) -> None:
    view.look(["a"], [], 0.0)
    view.answered("a", 0.001)
    view.late("a")
    view.look([], [], GONE_SECONDS + 1)
    view.late("a")
    assert view.records() == ()
    view.look(["a"], [], GONE_SECONDS + 2)
    assert view.records() == (("a", 0, 0),)
