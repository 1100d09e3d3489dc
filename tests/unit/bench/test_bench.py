from pathlib import Path

import pytest

from bench.pairs import Figure, Kind, lines
from bench.processes import BenchError
from bench.tree import Tree


@pytest.mark.parametrize(
    ("low", "high", "verdicts"),
    [
        (0.80, 0.95, ["faster", "slower", "smaller"]),
        (0.99, 1.01, ["no change"] * 3),
        (0.90, 1.04, ["inconclusive"] * 3),
        (1.05, 1.20, ["slower", "faster", "larger"]),
    ],
)
def test_the_verdict_is_on_the_ratio_within_pairs_however_the_machine_drifts(
    low: float, high: float, verdicts: list[str]
) -> None:
    figures = [Figure(kind.name, kind) for kind in (Kind.TIME, Kind.SPEED, Kind.MEMORY)]
    pairs = [
        (dict.fromkeys(figures, (low + (high - low) * step / 5) * drift), dict.fromkeys(figures, drift))
        for step, drift in enumerate((1.0, 10.0, 2.0, 7.0, 3.0, 20.0))
    ]
    assert [row.split("  ")[-1].strip() for row in lines("", ("this", "that"), pairs)[2:]] == verdicts
    assert [row.split()[-1] for row in lines("", ("this", "that"), pairs[:2])[2:]] == ["inconclusive"] * 3


THIS = Tree(Path("this"), "python", "0000001-dirty", frozenset({"PORT", "BIND_ADDRESS", "WINDOW_SIZE"}))
THAT = Tree(Path("that"), "python", "0000002", frozenset({"PORT", "HOST", "WINDOW"}))


def test_table_has_the_ratios_of_this_system_to_the_other_one() -> None:
    cpu, speed = Figure("CPU per hash, ns", Kind.TIME), Figure("hashes/s", Kind.SPEED)
    _, _, *rows = lines("At full pace", ("this", "that"), [({cpu: 100, speed: 2_000}, {cpu: 200, speed: 1_000})] * 6)
    assert [" ".join(row.split()) for row in rows] == [
        "CPU per hash, ns 100 200 0.500 (0.500 to 0.500) faster",
        "hashes/s 2,000 1,000 2.000 (2.000 to 2.000) faster",
    ]


def test_each_tree_gets_its_own_names_of_settings_and_none_that_it_would_ignore() -> None:
    given = {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    assert THIS.named(given) == {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW_SIZE": "8"}
    assert THAT.named(given) == {"HOST": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    with pytest.raises(BenchError, match="0000002 has no setting BATCH_SIZE"):
        THAT.named({"BATCH_SIZE": "1"})
