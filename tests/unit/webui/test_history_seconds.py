import pytest

from webui_svc.history import QueryError, parse_seconds


def test_five_minutes_unless_told_otherwise() -> None:
    assert parse_seconds([]) == 300


@pytest.mark.parametrize(("value", "seconds"), [("1", 1), ("3600", 3_600), ("0042", 42)])
def test_a_whole_number_within_bounds_is_taken(value: str, seconds: int) -> None:
    assert parse_seconds([value]) == seconds


@pytest.mark.parametrize(
    "value", ["", "x", "0", "-1", "3601", "1.5", "1e3", "nan", " 5", "+5", "1_0", "٣", "9" * 5_000, "5\n", "\x00"]
)
def test_anything_else_is_refused_with_what_is_allowed(value: str) -> None:
    with pytest.raises(QueryError, match=r"^seconds='.*' is not allowed; it must be a whole number from 1 to 3600\.$"):
        parse_seconds([value])


def test_two_values_are_refused() -> None:
    with pytest.raises(QueryError, match="given 2 times"):
        parse_seconds(["5", "5"])
