"""A span's name in another process's message, good and bad."""

import pytest

from chassis.telemetry.traceparent import TraceParent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_it_names_a_span_and_says_whether_it_is_recorded(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a parameter of the test
    parent = TraceParent.parse(f"00-{TRACE}-{SPAN}-{flags}")
    assert parent == (int(TRACE, 16), int(SPAN, 16), int(flags, 16))
    assert parent.sampled is sampled
    assert str(parent) == f"00-{TRACE}-{SPAN}-{flags}"


@pytest.mark.parametrize("text", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_a_later_version_is_read_as_far_as_it_is_known(text: str) -> None:
    parent = TraceParent.parse(text)
    assert parent == (int(TRACE, 16), int(SPAN, 16), 1)
    assert str(parent).startswith("00-")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_what_is_none_is_none(text: str) -> None:
    assert TraceParent.parse(text) is None
