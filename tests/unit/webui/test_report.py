import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.settings import Pace
from webui_svc.report import MalformedReportError, Report, parse

END = 1_700_000_000_000_000
WRITTEN_MS = END // 1_000
"""The time in the entry's id."""
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
    b"sent_us": b"%d" % (END + 1),
    b"redis_us": b"%d" % END,
    b"stalled_since_us": b"5",
    b"waits_for": b"hasher",
}


def test_a_good_entry_is_a_report() -> None:
    times = {"begin_us": END - 900_000, "end_us": END, "sent_us": END + 1, "redis_us": END, "stalled_since_us": 5}
    assert parse(GOOD, WRITTEN_MS) == Report(
        worker="worker-1-0123abcd",
        instance="worker-1",
        sequence=7,
        hashes=3,
        coins=0,
        batch_size=1,
        pace=Pace.CLASSIC,
        report_interval_us=2_500_000,
        waits_for="hasher",
        **times,
    )


def test_a_worker_that_would_report_too_rarely_is_refused() -> None:
    with pytest.raises(MalformedReportError, match=r"^report_interval_us: 60000001 is more than 60 s"):
        parse({**GOOD, b"report_interval_us": b"60000001"}, WRITTEN_MS)


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_named(field: bytes) -> None:
    fields = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(MalformedReportError, match=f"^{field.decode()}: missing"):
        parse(fields, WRITTEN_MS)


@pytest.mark.parametrize(
    "field",
    [name for name in GOOD if name.endswith(b"_us") or name in {b"sequence", b"hashes", b"coins", b"batch_size"}],
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
        parse({**GOOD, field: value}, WRITTEN_MS)


@pytest.mark.parametrize("field", [b"worker", b"instance", b"pace", b"waits_for"])
@pytest.mark.parametrize("value", [b" ", b"a b", b"\xff", b"x" * 129, b"a\nb"])
def test_a_field_that_is_no_name_is_refused(field: bytes, value: bytes) -> None:
    with pytest.raises(MalformedReportError, match=f"^{field.decode()}: "):
        parse({**GOOD, field: value}, WRITTEN_MS)


def test_an_end_before_the_begin_is_refused() -> None:
    with pytest.raises(MalformedReportError, match="is not between begin_us"):
        parse({**GOOD, b"begin_us": b"%d" % (END + 1)}, WRITTEN_MS)


@pytest.mark.parametrize("seconds", [-86_400, -90, 90, 86_400])
def test_the_clock_of_a_worker_may_show_any_time(seconds: int) -> None:
    times = dict.fromkeys((b"begin_us", b"end_us", b"sent_us"), b"%d" % (END + seconds * 1000000))
    assert parse({**GOOD, **times}, WRITTEN_MS).end_us == END + seconds * 1_000_000


def test_a_report_that_was_sent_before_its_end_is_refused() -> None:
    with pytest.raises(MalformedReportError, match=r"^end_us: .* is not between begin_us, .*, and sent_us"):
        parse({**GOOD, b"sent_us": b"%d" % (END - 1)}, WRITTEN_MS)


def test_a_report_that_redis_took_after_its_entry_was_written_is_refused() -> None:
    with pytest.raises(MalformedReportError, match=r"^redis_us: .* is later than the entry's id"):
        parse({**GOOD, b"redis_us": b"%d" % (END + 1_000)}, WRITTEN_MS)


@given(st.dictionaries(st.sampled_from(list(GOOD)), st.binary(max_size=30)))
def test_whatever_an_entry_holds_it_is_a_report_or_malformed(fields: dict[bytes, bytes]) -> None:
    try:
        assert isinstance(parse({**GOOD, **fields}, WRITTEN_MS), Report)
    except MalformedReportError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
