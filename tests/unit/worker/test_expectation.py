"""Which backends count as missing, and for how long."""

import pytest

from worker_svc.expectation import MISSING_LIMIT, Expectation


@pytest.fixture
def expectation() -> Expectation:
    return Expectation()


def test_as_many_or_more_are_all_that_is_expected(expectation: Expectation) -> None:
    for now, found in enumerate((["a"], ["a", "b", "c"], ["b", "c", "d"], ["a", "b", "c", "d"])):
        assert not expectation.unmet_by(found, now)


def test_who_comes_back_meets_it_by_any_name(expectation: Expectation) -> None:
    expectation.unmet_by(["a", "b"], 0)
    assert expectation.unmet_by(["a"], 1)
    assert not expectation.unmet_by(["a", "c"], 2)


def test_who_is_missing_for_long_is_no_longer_expected(expectation: Expectation) -> None:
    expectation.unmet_by(["a", "b", "c"], 0)
    assert expectation.unmet_by(["a"], 1)
    assert expectation.unmet_by(["a"], 1 + 0.9 * MISSING_LIMIT)
    assert not expectation.unmet_by(["a"], 1 + MISSING_LIMIT)
    assert not expectation.unmet_by(["a"], 2 + MISSING_LIMIT)


def test_while_others_come_and_go_the_missing_may_still_be_coming(expectation: Expectation) -> None:
    expectation.unmet_by(["a", "b", "c"], 0)
    for now, found in enumerate((["a", "b"], ["b", "c"], ["a", "c"]), start=1):
        assert expectation.unmet_by(found, now * 0.9 * MISSING_LIMIT)
