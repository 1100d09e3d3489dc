import pytest

from webui_svc import latency
from webui_svc.stored_json import MalformedJsonError


def test_counts_by_bucket_are_taken() -> None:
    assert latency.parse({"0": 1, "120": 2}) == {0: 1, 120: 2}


@pytest.mark.parametrize(
    "data", [None, [], {"121": 1}, {"-1": 1}, {"01": 1}, {"1.0": 1}, {"1": -1}, {"1": 1.5}, {"1": True}, {"1": 2**60}]
)
def test_what_is_no_count_by_bucket_is_refused(data: object) -> None:
    with pytest.raises(MalformedJsonError, match=r"^latency: "):
        latency.parse(data)
