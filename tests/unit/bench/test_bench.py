import re
import shlex
from pathlib import Path

import pytest

from bench.against import Figure, lines
from bench.processes import BenchError
from bench.ratio import Kind, Ratio
from bench.scaling import paced
from bench.scaling.__main__ import PARTS, arguments
from bench.scaling.model import CLASSIC, Cost, Costs, Node, System, predict
from bench.scaling.point import Point, bounds
from bench.tree import Tree


def ratio_of(ratios: list[float], kind: Kind = Kind.CPU) -> Ratio:
    """Return the ratio of pairs on a machine that gets slower with each."""
    return Ratio(kind, [(ratio * number, number) for number, ratio in enumerate(ratios, 1)])


@pytest.mark.parametrize(("pairs", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6)])
def test_interval_is_that_of_the_tables_for_a_median(pairs: int, rank: int) -> None:
    ratio = ratio_of([float(number) for number in range(1, pairs + 1)])
    assert (*ratio.interval, ratio.median) == (rank, pairs + 1 - rank, (pairs + 1) / 2)


@pytest.mark.parametrize(
    ("low", "high", "verdicts"),
    [
        (0.80, 0.95, ("faster", "slower", "smaller")),
        (0.98, 1.02, ("no change",) * 3),
        (1.01, 1.02, ("no change",) * 3),
        (1.01, 1.04, ("inconclusive",) * 3),
        (1.01, 1.20, ("slower", "faster", "larger")),
    ],
)
def test_verdict_is_what_the_interval_of_six_pairs_or_more_allows(
    low: float, high: float, verdicts: tuple[str, ...]
) -> None:
    ratios = [low + (high - low) * step / 5 for step in range(6)]
    assert tuple(ratio_of(ratios, kind).verdict for kind in (Kind.CPU, Kind.SPEED, Kind.MEMORY)) == verdicts
    assert ratio_of(ratios[:5]).verdict == "inconclusive"


THIS = Tree(Path("this"), "python", "0000001-dirty", frozenset({"PORT", "BIND_ADDRESS", "WINDOW_SIZE"}))
THAT = Tree(Path("that"), "python", "0000002", frozenset({"PORT", "HOST", "WINDOW"}))


def test_table_has_this_tree_over_the_other_one() -> None:
    cpu, speed = Figure("CPU a hash, ns", Kind.CPU), Figure("hashes/s", Kind.SPEED)
    _, _, *rows = lines("At full pace", (THIS, THAT), [({cpu: 100, speed: 2_000}, {cpu: 200, speed: 1_000})] * 6)
    assert [" ".join(row.split()) for row in rows] == [
        "CPU a hash, ns 100 200 0.500 0.500-0.500 faster",
        "hashes/s 2,000 1,000 2.000 2.000-2.000 faster",
    ]


def test_each_tree_is_given_its_own_names_and_none_that_it_would_ignore() -> None:
    given = {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    assert THIS.named(given) == {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW_SIZE": "8"}
    assert THAT.named(given) == {"HOST": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    with pytest.raises(BenchError, match="0000002 knows no setting BATCH_SIZE"):
        THAT.named({"BATCH_SIZE": "1"})


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
