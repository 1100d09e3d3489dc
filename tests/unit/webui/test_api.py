import re
from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from webui_svc.api import is_by_worker, seconds_of
from webui_svc.static_files import accepts_gzip


def query(**values: str | list[str]) -> web.Request:
    return make_mocked_request("GET", f"/api/history?{urlencode(values, doseq=True)}")


def test_the_history_is_requested_for_a_whole_number_of_seconds_and_by_worker() -> None:
    seconds = [seconds_of(query(**values)) for values in ({}, *({"seconds": each} for each in ("1", "3600", "0042")))]
    assert seconds == [300, 1, 3_600, 42]
    assert [is_by_worker(query(**values)) for values in ({}, {"by": "worker"})] == [False, True]


@pytest.mark.parametrize(
    "value", ["", "x", "0", "-1", "3601", "1.5", "1e3", "nan", " 5", "+5", "1_0", "٣", "9" * 5_000, "5\n", "\x00"]
)
def test_anything_else_is_refused_with_what_is_allowed(value: str) -> None:
    for name, read, allowed in (
        ("seconds", seconds_of, "a whole number from 1 to 3600"),
        ("by", is_by_worker, "worker"),
    ):
        with pytest.raises(web.HTTPBadRequest) as refused:
            read(query(**{name: value}))
        assert re.fullmatch(rf"{name}='.*' is not allowed; it must be {allowed}\.\n", refused.value.text or "")
        with pytest.raises(web.HTTPBadRequest) as refused:
            read(query(**{name: [value, value]}))
        assert "given 2 times" in (refused.value.text or "")


ACCEPTED = ["gzip", "GZIP", "deflate, gzip;q=0.5, br", "*", "gzip;q=1.0"]
NOT_ACCEPTED = ["gzip;q=0", "gzip; q=0.000, *", "*;q=0", "identity", "xgzip", "", ";;,,q="]


def test_gzip_is_for_clients_that_accept_it() -> None:
    for header in ACCEPTED + NOT_ACCEPTED:
        request = make_mocked_request("GET", "/", headers={"Accept-Encoding": header})
        assert accepts_gzip(request) is (header in ACCEPTED), header
    assert not accepts_gzip(make_mocked_request("GET", "/"))
