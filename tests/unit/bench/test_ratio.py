import pytest

from bench.ratio import Kind, Ratio


def of(ratios: list[float], kind: Kind = Kind.CPU) -> Ratio:
    return Ratio(kind, [(ratio * 5, 5) for ratio in ratios])


def test_each_run_of_this_tree_is_compared_with_its_own_pair() -> None:
    """The machine is twice as slow in the second pair, ten times in the third: the ratio is the same."""
    ratio = Ratio(Kind.CPU, [(1.1, 1), (2.2, 2), (11, 10)])
    assert ratio.median == pytest.approx(1.1)
    assert ratio.interval == pytest.approx((1.1, 1.1))


@pytest.mark.parametrize(("pairs", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6)])
def test_interval_is_that_of_the_tables_for_a_median(pairs: int, rank: int) -> None:
    low, high = of([float(number) for number in range(1, pairs + 1)]).interval
    assert (low, high) == (rank, pairs + 1 - rank)


def test_fewer_than_six_pairs_say_nothing() -> None:
    assert of([0.5] * 5).verdict == "inconclusive"


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
def test_verdict_is_what_the_interval_allows(low: float, high: float, verdicts: tuple[str, ...]) -> None:
    ratios = [low + (high - low) * step / 5 for step in range(6)]
    assert tuple(of(ratios, kind).verdict for kind in (Kind.CPU, Kind.SPEED, Kind.MEMORY)) == verdicts
