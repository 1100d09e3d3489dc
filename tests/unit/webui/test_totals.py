import pytest

from webui_svc import totals


def test_buckets_become_speeds_up_to_the_last_whole_one() -> None:
    buckets = {100: 33.0, 110: 34.0, 120: 5.0}
    assert totals.points(buckets, until=125, seconds=1_000) == [(100, 3.3), (110, 3.4)]


def test_a_missing_bucket_is_a_time_in_which_nobody_mined() -> None:
    assert totals.points({100: 10.0, 120: 10.0}, until=130, seconds=1_000) == [(100, 1.0), (110, 0.0), (120, 1.0)]


def test_no_more_is_returned_than_asked_for() -> None:
    buckets = dict.fromkeys(range(0, 7_200, 10), 10.0)
    assert len(totals.points(buckets, until=7_200, seconds=3_600)) == 360


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"x", b"1"),
        (b"-10", b"1"),
        (b"15", b"1"),
        (b"9" * 30, b"1"),
        (b"10", b"x"),
        (b"10", b"nan"),
        (b"10", b"inf"),
        (b"10", b"-1"),
        (b"10", b"1e300"),
        (b"\xff", b"\xff"),
    ],
)
def test_what_is_no_bucket_is_left_out(field: bytes, value: bytes) -> None:
    assert totals.parse({field: value, b"20": b"1.5"}) == {20: 1.5}
