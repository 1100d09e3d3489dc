import pytest

from chassis.settings import Pace, Sampler, ServiceSettings
from chassis.telemetry.sampling import Sampling
from chassis.telemetry.traceparent import TraceParent
from webui_svc.settings import WebuiSettings

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


LOWEST, HIGHEST = 1, (1 << 128) - 1
IN_THE_MIDDLE = (HIGHEST >> 64 << 64) + (1 << 63)
"""Its upper half decides nothing."""


def parent(trace_id: int, flags: int) -> TraceParent:
    return TraceParent(trace_id, 1, flags)


@pytest.mark.parametrize(("part", "wanted"), [(0, [False] * 3), (0.5, [True, False, False]), (1, [True] * 3)])
def test_none_half_and_all_by_the_lower_half_of_the_id(part: float, wanted: list[bool]) -> None:
    sampling = Sampling(Sampler.TRACE_ID_RATIO, part)
    assert [sampling.wants(trace_id) for trace_id in (LOWEST, IN_THE_MIDDLE, HIGHEST)] == wanted


@pytest.mark.parametrize("prefix", ["", "parentbased_"])
@pytest.mark.parametrize(("sampler", "wanted"), [("always_on", True), ("always_off", False)])
def test_always_is_whatever_the_part_is(sampler: str, wanted: bool, prefix: str) -> None:  # noqa: FBT001 - a parameter of the test
    sampling = Sampling(Sampler(prefix + sampler), 0.5)
    assert [sampling.wants(LOWEST), sampling.wants(HIGHEST)] == [wanted] * 2


@pytest.mark.parametrize("sampler", [sampler for sampler in Sampler if sampler.startswith("parentbased_")])
def test_the_parent_decides_for_its_children_where_it_is_to(sampler: Sampler) -> None:
    sampling = Sampling(sampler, 0.5)
    assert [sampling.wants_more_of(parent(HIGHEST, flags)) for flags in (0, 1, 2, 3)] == [False, True, False, True]
    elsewhere = Sampling(Sampler.TRACE_ID_RATIO, 0.5)
    assert [elsewhere.wants_more_of(parent(LOWEST, flags)) for flags in (0, 1)] == [True, True]
    assert not elsewhere.wants_more_of(parent(HIGHEST, 1))


@pytest.mark.parametrize(("pace", "part"), [(Pace.CLASSIC, 1), (Pace.FULL, 0.01)])
def test_the_pace_decides_the_part_where_nothing_else_does(pace: Pace, part: float) -> None:
    below, above = round(part * (1 << 64)) - 1, round(part * (1 << 64))
    sampling = Sampling(Sampler.TRACE_ID_RATIO, ServiceSettings(pace=pace).otel_traces_sampler_arg)
    assert sampling.wants(below)
    assert part == 1 or not sampling.wants(above)
    traced = ServiceSettings(pace=pace, otel_exporter_otlp_endpoint="http://collector", otel_traces_sampler_arg=0)
    assert traced.otel_traces_sampler_arg == 0


def test_requests_for_the_page_are_all_traced_at_either_pace() -> None:
    assert all(WebuiSettings(pace=pace).otel_traces_sampler_arg == 1 for pace in Pace)
