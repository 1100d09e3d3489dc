import json

from chassis.stored import MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from webui_svc.load_tests import LoadTests


def stored(began: object) -> bytes:
    return json.dumps({"format": "dockercoins-load-test", "began": began, "points": []}, indent=1).encode()


def test_reports_are_handed_on_as_stored() -> None:
    held = LoadTests()
    assert held.set([stored("2026-11-24T22:00:00Z"), stored("2026-11-23T22:00:00Z")]) == []
    assert [report["began"] for report in json.loads(held.body)["reports"]] == [
        "2026-11-24T22:00:00Z",
        "2026-11-23T22:00:00Z",
    ]
    assert held.figures == {"count": 2, "newest": "2026-11-24T22:00:00Z"}


def test_what_is_no_report_is_left_out_and_said() -> None:
    held = LoadTests()
    bad = [b"", b"[]", b"{}", b'{"began": NaN}', b" " * (MAX_LOAD_TEST_BYTES + 1)]
    assert len(held.set(bad)) == 5
    assert (held.figures, json.loads(held.body)) == ({"count": 0, "newest": None}, {"reports": []})


def test_no_more_than_are_kept_are_taken() -> None:
    held = LoadTests()
    held.set([stored(str(number)) for number in range(MAX_LOAD_TESTS + 3)])
    assert held.figures == {"count": MAX_LOAD_TESTS, "newest": "0"}


def test_a_time_that_is_no_text_is_not_told() -> None:
    held = LoadTests()
    held.set([stored(7)])
    assert held.figures == {"count": 1, "newest": None}
