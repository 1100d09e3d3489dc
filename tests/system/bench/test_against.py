"""`make bench ARGS="--against COMMIT"` from end to end, with this checkout as both trees."""

from argparse import Namespace
from pathlib import Path

import pytest

from bench import against
from bench.tree import Tree


def test_both_trees_mine_and_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this = Tree.this()
    monkeypatch.setattr(against, "_trees", lambda _: (this, this))
    arguments = Namespace(against="HEAD", pairs=1, batch_sizes=(256,), seconds=1.0)
    (_, _, cpu, speed), _ = against.PARTS["hash"](arguments, tmp_path)
    assert cpu.startswith("batch    256: CPU a hash, ns ")
    assert speed.startswith("batch    256: hashes/s ")
    assert cpu.endswith("inconclusive")
