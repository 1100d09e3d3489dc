from pathlib import Path

import pytest

from bench.against import Figure, lines
from bench.processes import BenchError
from bench.ratio import Kind
from bench.tree import Tree

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
