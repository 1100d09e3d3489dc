from pathlib import Path

import pytest

from bench.pairs import Figure, Kind, Ratio, lines
from bench.processes import BenchError
from bench.tree import Tree


def ratio_of(ratios: list[float], kind: Kind = Kind.TIME) -> Ratio:
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
def test_verdict_follows_from_the_interval_of_six_pairs_or_more(
    low: float, high: float, verdicts: tuple[str, ...]
) -> None:
    ratios = [low + (high - low) * step / 5 for step in range(6)]
    assert tuple(ratio_of(ratios, kind).verdict for kind in (Kind.TIME, Kind.SPEED, Kind.MEMORY)) == verdicts
    assert ratio_of(ratios[:5]).verdict == "inconclusive"


THIS = Tree(Path("this"), "python", "0000001-dirty", frozenset({"PORT", "BIND_ADDRESS", "WINDOW_SIZE"}))
THAT = Tree(Path("that"), "python", "0000002", frozenset({"PORT", "HOST", "WINDOW"}))


def test_table_has_the_ratios_of_this_system_to_the_other_one() -> None:
    cpu, speed = Figure("CPU per hash, ns", Kind.TIME), Figure("hashes/s", Kind.SPEED)
    _, _, *rows = lines("At full pace", ("this", "that"), [({cpu: 100, speed: 2_000}, {cpu: 200, speed: 1_000})] * 6)
    assert [" ".join(row.split()) for row in rows] == [
        "CPU per hash, ns 100 200 0.500 0.500-0.500 faster",
        "hashes/s 2,000 1,000 2.000 2.000-2.000 faster",
    ]


def test_each_tree_gets_its_own_names_of_settings_and_none_that_it_would_ignore() -> None:
    given = {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    assert THIS.named(given) == {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "WINDOW_SIZE": "8"}
    assert THAT.named(given) == {"HOST": "127.0.0.1", "PORT": "0", "WINDOW": "8"}
    with pytest.raises(BenchError, match="0000002 has no setting BATCH_SIZE"):
        THAT.named({"BATCH_SIZE": "1"})
