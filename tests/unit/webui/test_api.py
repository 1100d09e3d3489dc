import pytest
from aiohttp.test_utils import make_mocked_request

from webui_svc.api import QueryError, parse_by, parse_seconds
from webui_svc.static_files import accepts_gzip


def test_the_history_is_asked_for_by_a_whole_number_of_seconds_and_by_worker() -> None:
    asked = [parse_seconds(values) for values in ([], ["1"], ["3600"], ["0042"])]
    assert asked == [300, 1, 3_600, 42]
    assert [parse_by(values) for values in ([], ["worker"])] == [False, True]


@pytest.mark.parametrize(
    "value", ["", "x", "0", "-1", "3601", "1.5", "1e3", "nan", " 5", "+5", "1_0", "٣", "9" * 5_000, "5\n", "\x00"]
)
def test_anything_else_is_refused_with_what_is_allowed(value: str) -> None:
    with pytest.raises(QueryError, match=r"^seconds='.*' is not allowed; it must be a whole number from 1 to 3600\.$"):
        parse_seconds([value])
    with pytest.raises(QueryError, match=r"^by='.*' is not allowed; it must be worker\.$"):
        parse_by([value])
    for parse in (parse_seconds, parse_by):
        with pytest.raises(QueryError, match="given 2 times"):
            parse([value, value])


ACCEPTED = ["gzip", "GZIP", "deflate, gzip;q=0.5, br", "*", "gzip;q=1.0"]
NOT_ACCEPTED = ["gzip;q=0", "gzip; q=0.000, *", "*;q=0", "identity", "xgzip", "", ";;,,q="]


def test_gzip_is_for_clients_that_accept_it() -> None:
    for header in ACCEPTED + NOT_ACCEPTED:
        request = make_mocked_request("GET", "/", headers={"Accept-Encoding": header})
        assert accepts_gzip(request) is (header in ACCEPTED), header
    assert not accepts_gzip(make_mocked_request("GET", "/"))
