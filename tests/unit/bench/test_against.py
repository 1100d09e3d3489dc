import os
import sys
import time
from pathlib import Path

import pytest

from bench.against import Figure, lines, turns
from bench.processes import BenchError, cpu_seconds
from bench.ratio import Kind
from bench.tree import Tree

THIS = Tree(Path("this"), "python", "0000001-dirty", frozenset({"PORT", "BIND_ADDRESS", "WINDOW_SIZE"}))
THAT = Tree(Path("that"), "python", "0000002", frozenset({"PORT", "HOST", "WINDOW"}))


def test_each_tree_is_first_as_often_as_second() -> None:
    assert [tree for number in range(4) for tree in turns(number)] == [0, 1, 1, 0, 0, 1, 1, 0]


def test_table_has_this_tree_over_the_other_one() -> None:
    cpu, speed = Figure("CPU a hash, ns", Kind.CPU), Figure("hashes/s", Kind.SPEED)
    _, _, *rows = lines("At full pace", (THIS, THAT), [({cpu: 100, speed: 2_000}, {cpu: 200, speed: 1_000})] * 6)
    assert [" ".join(row.split()) for row in rows] == [
        "CPU a hash, ns 100 200 0.500 0.500-0.500 faster",
        "hashes/s 2,000 1,000 2.000 2.000-2.000 faster",
    ]


def test_each_tree_is_given_its_own_names() -> None:
    given = {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    assert THIS.named(given) == {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW_SIZE": "8"}
    assert THAT.named(given) == {"HOST": "127.0.0.1", "PORT": "0", "WINDOW": "8"}


def test_a_setting_that_a_tree_would_ignore_is_an_error() -> None:
    with pytest.raises(BenchError, match="0000002 knows no setting BATCH_SIZE"):
        THAT.named({"BATCH_SIZE": "1"})


def test_a_checkout_that_would_run_another_ones_code_is_an_error(tmp_path: Path) -> None:
    """There is no code in the folder, so Python finds what is installed: this checkout's."""
    with pytest.raises(BenchError, match=rf"what was to run in {tmp_path} would run .*chassis"):
        Tree._look(tmp_path, sys.executable)


def test_cpu_time_of_a_process_has_that_of_threads_that_ended() -> None:
    before = time.process_time()
    measured = cpu_seconds(os.getpid())
    assert before <= measured <= time.process_time() + 0.011  # where there are only hundredths
