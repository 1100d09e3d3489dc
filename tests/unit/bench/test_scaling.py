import re
import shlex
from pathlib import Path

import pytest

from bench.scaling import paced
from bench.scaling.__main__ import PARTS, arguments
from bench.scaling.model import CLASSIC, Cost, Costs, Node, System, predict
from bench.scaling.point import Point, bounds

ROOT = Path(__file__).parents[3]

NO_COSTS = Costs({})

COSTS = Costs({"rng": Cost(2e-4, 1e-7), "hasher": Cost(3e-4, 1e-7), "worker": Cost(5e-4, 1e-7)}, usable=0.9)
"""A batch of 10,000 takes 1.2, 1.3 and 1.5 ms: 4 ms in all."""


def test_every_command_of_the_documents_is_understood() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    commands = [words for page in pages for words in re.findall(r'make bench-scaling ARGS="([^"]*)"', page.read_text())]
    assert commands
    for words in commands:
        assert set(arguments(shlex.split(words)).parts) <= PARTS.keys()


@pytest.mark.parametrize(("workers", "rngs", "expected"), [(1, 1, 10 / 3), (2, 1, 20 / 3), (10, 1, 10), (10, 2, 20)])
def test_the_classic_pace_is_the_workshops(workers: int, rngs: int, expected: float) -> None:
    done = predict(paced.of((workers, rngs, 1), CLASSIC), NO_COSTS)
    assert done.speed == pytest.approx(expected)
    assert done.limit == ("batches in flight" if workers < 3 else "turns at rng")


@pytest.mark.parametrize(
    ("nodes", "batches", "limit"),
    [
        ((Node(2, 1, 1, 1),), 2 * 0.9 / 4e-3, "a node's cores"),
        ((Node(1, 1, 1, 1),), 1 / 4e-3, "a node's cores"),
        ((Node(1, rng=1, hasher=1), Node(1, worker=1)), 1 / 2.5e-3, "a node's cores"),
        ((Node(64, 1, 1, 1),), 1 / 1.5e-3, "one core a worker"),
        ((Node(64, 1, 1, 2),), 1 / 1.3e-3, "one core a hasher"),
    ],
)
def test_the_busiest_node_or_process_is_the_limit(nodes: tuple[Node, ...], batches: float, limit: str) -> None:
    done = predict(System(nodes, 10_000, 8), COSTS)
    assert done.speed == pytest.approx(10_000 * batches)
    assert done.limit == limit


def test_a_network_carries_each_hash_three_times_into_a_node() -> None:
    """Each of two nodes does half of the batches; 96 bytes of a hash go into it, half of them from the other."""
    done = predict(System((Node(64, 1, 1, 1, 2, network=96e6),), 10_000, 8), NO_COSTS)
    assert done.speed == pytest.approx(2 * 96e6 / (96 / 2))
    assert done.limit == "a node's network"


def test_a_prediction_that_is_off_by_more_than_a_tenth_is_beyond() -> None:
    done = predict(System((Node(2, 1, 1, 1),), 10_000, 8), COSTS)
    points = [Point("near", [done], [done.speed / 1.08]), Point("far", [done], [done.speed / 0.8])]
    assert [bound.held for bound in bounds(points)] == [True, False]
