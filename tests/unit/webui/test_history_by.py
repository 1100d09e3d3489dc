import pytest

from webui_svc.history import QueryError, parse_by


def test_the_total_unless_told_otherwise() -> None:
    assert not parse_by([])
    assert parse_by(["worker"])


@pytest.mark.parametrize("value", ["", "Worker", "workers", "rng", "\x00", "x" * 5_000])
def test_anything_else_is_refused_with_what_is_allowed(value: str) -> None:
    with pytest.raises(QueryError, match=r"^by='.*' is not allowed; it must be worker\.$"):
        parse_by([value])


def test_two_values_are_refused() -> None:
    with pytest.raises(QueryError, match="given 2 times"):
        parse_by(["worker", "worker"])
