import pytest

from bench.ratio import Kind, Ratio


def of(ratios: list[float], kind: Kind = Kind.CPU) -> Ratio:
    """Return the ratio of pairs on a machine that gets slower with each."""
    return Ratio(kind, [(ratio * number, number) for number, ratio in enumerate(ratios, 1)])


@pytest.mark.parametrize(("pairs", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6)])
def test_interval_is_that_of_the_tables_for_a_median(pairs: int, rank: int) -> None:
    ratio = of([float(number) for number in range(1, pairs + 1)])
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
    assert tuple(of(ratios, kind).verdict for kind in (Kind.CPU, Kind.SPEED, Kind.MEMORY)) == verdicts
    assert of(ratios[:5]).verdict == "inconclusive"
