import pytest
from aiohttp.test_utils import make_mocked_request

from webui_svc.compression import accepts_gzip


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5, br", True),
        ("*", True),
        ("gzip;q=1.0", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("xgzip", False),
        ("", False),
        (";;,,q=", False),
    ],
)
def test_gzip_is_for_whoever_takes_it(header: str, accepted: bool) -> None:  # noqa: FBT001 - a value to compare with
    assert accepts_gzip(make_mocked_request("GET", "/", headers={"Accept-Encoding": header})) is accepted


def test_it_is_not_for_whoever_says_nothing() -> None:
    assert not accepts_gzip(make_mocked_request("GET", "/"))
