"""`make bench ARGS="--against COMMIT"` from end to end, with this checkout as both trees."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from bench import against
from bench.processes import BenchError
from bench.tree import Tree


def test_both_trees_mine_and_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this = Tree.this()
    monkeypatch.setattr(against, "_trees", lambda _: (this, this))
    arguments = Namespace(against="HEAD", pairs=1, replicas=1, batch_sizes=(256,), window_sizes=(8,), seconds=1.0)
    (_, _, cpu, speed), _ = against.PARTS["hash"](arguments, tmp_path)
    assert cpu.startswith("batch    256, window  8: CPU per hash, ns ")
    assert speed.startswith("batch    256, window  8: hashes/s ")
    assert cpu.endswith("inconclusive")
    (_, _, *rows), _ = against.PARTS["latency"](arguments, tmp_path)
    assert [row.partition(",")[0] for row in rows] == [
        f"batch 256 at {load}: {name}" for load in ("the same load", "half of its speed") for name in ("p50", "p99")
    ]


def test_a_checkout_that_would_run_another_ones_code_is_an_error(tmp_path: Path) -> None:
    """There is no code in the folder, so Python finds what is installed: this checkout's."""
    with pytest.raises(BenchError, match=rf"Python in {tmp_path} would run .*chassis"):
        Tree._look(tmp_path, sys.executable)
