from math import inf

import pytest

from bench.scaling import paced, sizes
from bench.scaling.full import TOGETHER, WORKER_APART, Turn
from bench.scaling.model import CLASSIC, Cost, Costs, Node, Pace, System, fitted, predict
from bench.scaling.point import Point, bounds

NO_COSTS = Costs({})

COSTS = Costs({"rng": Cost(2e-4, 1e-7), "hasher": Cost(3e-4, 1e-7), "worker": Cost(5e-4, 1e-7)}, usable=0.9)
"""A batch of 10,000 takes 1.2, 1.3 and 1.5 ms: 4 ms in all."""


@pytest.mark.parametrize(
    ("workers", "rngs", "expected", "limit"),
    [
        (1, 1, 10 / 3, "batches in flight"),
        (2, 1, 20 / 3, "batches in flight"),
        (3, 1, 10, "batches in flight"),
        (10, 1, 10, "turns at rng"),
        (10, 2, 20, "turns at rng"),
        (100, 2, 20, "turns at rng"),
    ],
)
def test_the_classic_pace_is_the_workshops(workers: int, rngs: int, expected: float, limit: str) -> None:
    done = predict(paced.of((workers, rngs, 1), CLASSIC), NO_COSTS)
    assert done.speed == pytest.approx(expected)
    assert done.limit == limit or expected == 10  # where two are equal, either may be named


def test_a_batch_is_as_many_hashes_as_it_holds() -> None:
    one, many = (predict(paced.of((1, 1, 1), CLASSIC, batch_size=size), NO_COSTS).speed for size in (1, 64))
    assert many == pytest.approx(64 * one)


def test_more_in_flight_helps_until_turns_are_the_limit() -> None:
    speeds = [predict(paced.of((1, 1, 1), paced.SHORT, window), NO_COSTS).speed for window in (1, 2, 3, 8)]
    assert speeds == pytest.approx([25, 50, 50, 50])


def test_a_batchs_way_counts_beside_its_delays() -> None:
    done = predict(paced.of((1, 1, 1), Pace(rng_delay=0.02)), Costs({}, way=0.005))
    assert done.speed == pytest.approx(1 / 0.025)


def test_a_node_is_limited_by_its_usable_cores() -> None:
    done = predict(System((Node(2, 1, 1, 1),), 10_000, 8), COSTS)
    assert done.speed == pytest.approx(10_000 * 2 * 0.9 / 4e-3)
    assert done.limit == "a node's cores"


def test_a_node_of_one_core_uses_all_of_it() -> None:
    assert predict(System((Node(1, 1, 1, 1),), 10_000, 8), COSTS).speed == pytest.approx(10_000 / 4e-3)


def test_the_busiest_node_is_the_limit() -> None:
    nodes = (Node(1, rng=1, hasher=1), Node(1, worker=1))
    assert predict(System(nodes, 10_000, 8), COSTS).speed == pytest.approx(10_000 / 2.5e-3)


def test_a_process_has_one_core() -> None:
    done = predict(System((Node(64, 1, 1, 1),), 10_000, 8), COSTS)
    assert done.speed == pytest.approx(10_000 / 1.5e-3)
    assert done.limit == "one core a worker"
    assert predict(System((Node(64, 1, 1, 2),), 10_000, 8), COSTS).limit == "one core a hasher"


def test_twice_as_many_nodes_do_twice_as_much_where_processes_take_nothing_by_themselves() -> None:
    one, two = (predict(System((Node(2, 1, 1, 1, times),), 10_000, 8), COSTS).speed for times in (1, 2))
    assert two == pytest.approx(2 * one)


def test_what_processes_take_by_themselves_is_no_cores_of_batches() -> None:
    busy = Costs(COSTS.services, COSTS.usable, process={"worker": 0.3})
    done = predict(System((Node(2, 1, 1, 1),), 10_000, 8), busy)
    assert done.speed == pytest.approx(10_000 * (2 * 0.9 - 0.3) / 4e-3)


def test_a_network_carries_each_hash_three_times_into_a_node() -> None:
    """Of two nodes with one of each, half of what is asked is asked of the other one."""
    system = System((Node(64, 1, 1, 1, 2, network=96e6),), 10_000, 8)
    done = predict(system, Costs({}))
    assert done.limit == "a node's network"
    # Each node does half of the batches; 96 bytes of a hash go into it, half of them from the other.
    assert done.speed == pytest.approx(2 * 96e6 / (96 / 2))


def test_one_node_needs_no_network() -> None:
    assert predict(System((Node(2, 1, 1, 1, network=1),), 10_000, 8), COSTS).limit == "a node's cores"


def test_a_system_that_lacks_a_service_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no hasher and no worker"):
        predict(System((Node(2, rng=1),)), COSTS)


def test_a_straight_line_is_found_again() -> None:
    cost = Cost(4e-4, 2e-7)
    found = fitted({size: cost.of(size) for size in (16, 4_096, 65_536)})
    assert [found.batch, found.hash] == pytest.approx([cost.batch, cost.hash])


def test_a_fit_is_as_near_to_small_batches_as_to_large_ones() -> None:
    measured = {16: 4e-4, 4_096: 1.4e-3, 65_536: 14e-3}
    found = fitted(measured)
    assert all(found.of(size) == pytest.approx(seconds, rel=0.1) for size, seconds in measured.items())


def test_one_size_fits_no_line() -> None:
    with pytest.raises(ValueError, match=r"two batch sizes or more, not to \[16\]"):
        fitted({16: 4e-4})


def test_a_prediction_that_is_off_by_more_than_a_tenth_is_beyond() -> None:
    near, far = Point("near"), Point("far")
    for point, speed in ((near, 100.0), (far, 130.0)):
        done = predict(System((Node(2, 1, 1, 1),), 10_000, 8), COSTS)
        point.predicted.append(done)
        point.measured.append(done.speed * speed / 108)
    assert [bound.held for bound in bounds([near, far])] == [True, False]


def test_pinned_services_are_nodes_of_one_core() -> None:
    left = {0: 1.0, 1: 0.8}
    assert Turn(16, pins=TOGETHER).system(left).nodes == [Node(1.0, 1, 1, 1)]
    assert Turn(16, pins=WORKER_APART).system(left).nodes == [Node(1.0, worker=1), Node(0.8, 1, 1)]
    assert Turn(16).system(left).nodes == (Node(1.8, 1, 1, 1),)


def test_cells_do_as_much_together_as_one_alone_does_so_many_times() -> None:
    one = sizes.speed(10, COSTS, inf).speed
    assert sizes.speed(1_000, COSTS, inf).speed < 100 * one, "connections take their part"
    assert sizes.speed(1_000, COSTS, inf).speed > 70 * one
