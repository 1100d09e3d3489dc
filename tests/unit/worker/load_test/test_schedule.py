import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.load_test.schedule import Rate


def test_a_constant_rate_is_due_at_equal_distances() -> None:
    schedule = Rate.parse("1000").schedule(warm_up=0, duration=2)
    assert [schedule.due(hashes) for hashes in (0, 500, 1_000, 1_999)] == pytest.approx([0, 0.5, 1, 1.999])


def test_nothing_is_due_after_the_end() -> None:
    assert Rate.parse("1000").schedule(0, 2).due(2_000) is None


def test_steps_take_equal_times() -> None:
    schedule = Rate.parse("100,300").schedule(0, 2)
    assert schedule.due(100) == pytest.approx(1)
    assert schedule.due(250) == pytest.approx(1.5)
    assert schedule.hashes == 400


def test_a_line_goes_from_one_rate_to_the_other() -> None:
    """The mean rate of the first half is a quarter of the way."""
    schedule = Rate.parse("0..1000").schedule(0, 2)
    assert schedule.hashes == 1_000
    assert schedule.due(250) == pytest.approx(1)
    falling = Rate.parse("1000..0").schedule(0, 2)
    assert falling.due(750) == pytest.approx(1)


def test_the_warm_up_has_the_first_rate_and_comes_before_the_rest() -> None:
    schedule = Rate.parse("100..300").schedule(warm_up=1, duration=2)
    assert schedule.due(50) == pytest.approx(0.5)
    assert schedule.hashes_until(1) == pytest.approx(100)
    assert schedule.hashes == pytest.approx(500)


def test_a_step_may_be_a_pause() -> None:
    schedule = Rate.parse("100,0,100").schedule(0, 3)
    assert schedule.due(99) == pytest.approx(0.99)
    assert schedule.due(100) == pytest.approx(2)


rates = st.floats(0, 1e6).map(lambda rate: round(rate, 1))
parts = st.tuples(rates, rates).map(lambda pair: f"{pair[0]}..{pair[1]}")


@given(st.lists(parts, min_size=1, max_size=4), st.floats(0, 5), st.floats(0.1, 100), st.floats(0, 1))
def test_what_is_due_by_a_moment_and_when_it_is_due_agree(
    lines: list[str], warm_up: float, duration: float, part: float
) -> None:
    try:
        schedule = Rate.parse(",".join(lines)).schedule(warm_up, duration)
    except ValueError:
        return
    hashes = part * schedule.hashes
    due = schedule.due(hashes)
    if due is not None:
        assert schedule.hashes_until(due) == pytest.approx(hashes, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize(
    "text", ["", "fast", "-1", "1..", "..", "..5", "1,,2", "0", "0..0", "nan", "inf", "1e12", "1..2..3"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it must be"):
        Rate.parse(text)
