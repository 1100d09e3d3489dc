import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.settings import Pace
from webui_svc.report import MalformedReportError, Report, parse

NOW = 1_700_000_000.0
END = 1_700_000_000_000_000
GOOD = {
    b"worker": b"worker-1-0123abcd",
    b"instance": b"worker-1",
    b"sequence": b"7",
    b"hashes": b"3",
    b"coins": b"0",
    b"begin_us": b"%d" % (END - 900_000),
    b"end_us": b"%d" % END,
    b"batch_size": b"1",
    b"pace": b"classic",
    b"report_interval_us": b"2500000",
}


def test_a_good_entry_is_a_report() -> None:
    expected = Report("worker-1-0123abcd", "worker-1", 7, 3, 0, END - 900_000, END, 1, Pace.CLASSIC, 2_500_000)
    assert parse(GOOD, NOW) == expected


def test_a_worker_that_would_report_too_rarely_is_refused() -> None:
    with pytest.raises(MalformedReportError, match=r"^report_interval_us: 60000001 is more than 60 s"):
        parse({**GOOD, b"report_interval_us": b"60000001"}, NOW)


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_named(field: bytes) -> None:
    fields = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(MalformedReportError, match=f"^{field.decode()}: missing"):
        parse(fields, NOW)


@pytest.mark.parametrize(
    "field", [b"sequence", b"hashes", b"coins", b"begin_us", b"end_us", b"batch_size", b"report_interval_us"]
)
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"-1",
        b"1.5",
        b"1e3",
        b"nan",
        b" 1",
        b"1_0",
        b"0x1",
        b"\xff\xfe",
        "٣".encode(),
        b"9" * 16,
        b"9" * 5_000,
    ],
)
def test_a_field_that_is_no_sane_number_is_refused(field: bytes, value: bytes) -> None:
    with pytest.raises(MalformedReportError, match=f"^{field.decode()}: "):
        parse({**GOOD, field: value}, NOW)


@pytest.mark.parametrize("field", [b"worker", b"instance", b"pace"])
@pytest.mark.parametrize("value", [b"", b"a b", b"\xff", b"x" * 129, b"a\nb"])
def test_a_field_that_is_no_name_is_refused(field: bytes, value: bytes) -> None:
    with pytest.raises(MalformedReportError, match=f"^{field.decode()}: "):
        parse({**GOOD, field: value}, NOW)


def test_an_end_before_the_begin_is_refused() -> None:
    with pytest.raises(MalformedReportError, match="before begin_us"):
        parse({**GOOD, b"begin_us": b"%d" % (END + 1)}, NOW)


@pytest.mark.parametrize("seconds", [-86_400, -961, 61, 86_400, 8_000 * 31_556_952])
def test_a_time_that_can_not_be_is_refused(seconds: int) -> None:
    end = max(0, END + seconds * 1_000_000)
    with pytest.raises(MalformedReportError, match=r"^end_us: "):
        parse({**GOOD, b"begin_us": b"0", b"end_us": b"%d" % end}, NOW)


@given(st.dictionaries(st.sampled_from(list(GOOD)), st.binary(max_size=30)))
def test_whatever_an_entry_holds_it_is_a_report_or_malformed(fields: dict[bytes, bytes]) -> None:
    try:
        assert isinstance(parse({**GOOD, **fields}, NOW), Report)
    except MalformedReportError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
