import itertools
import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from support.otlp_receiver import OtlpReceiver, otlp_receiver
from support.waiting import until

from chassis.settings import Pace, ServiceSettings
from chassis.telemetry import tracing as tracing_module
from chassis.telemetry.tracing import open_tracing
from webui_svc.settings import WebuiSettings

COLLECTOR = "http://collector.example"
OURS = {"service.name": "rng", "service.namespace": "dockercoins", "service.instance.id": "rng-1"}


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        # What the docker CLI passes on to its plugins, and they to containers.
        (
            b"docker.cli.cobra.command_path=docker%20compose",
            {"docker.cli.cobra.command_path": "docker compose", **OURS},
        ),
        (b"service.name=page,room=7", {**OURS, "service.name": "page", "room": "7"}),
        (b"room=a=b,city=K%C3%B6ln", {**OURS, "room": "a=b", "city": "Köln"}),
        (b"room=\xff,other=%ff,bad=%zz", {**OURS, "room": "�", "other": "�", "bad": "%zz"}),
        (b"r\xffm=7", {**OURS, "r�m": "7"}),
        (b"nothing,,=,  room = 7 ,", {**OURS, "room": "7"}),
    ],
)
def test_attributes_of_the_environment_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, attributes: bytes, found: dict[str, str]
) -> None:
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "propagate", True)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", os.fsdecode(attributes))
    resource = tracing_module._resource("rng", "rng-1")
    assert found.items() <= resource.attributes.items()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "other")
    assert tracing_module._resource("rng", "rng-1").attributes["service.name"] == "other"
    span = ReadableSpan("batch", SpanContext(1, 1, is_remote=False), resource=resource)
    assert encode_spans([span]).SerializeToString()
    assert bool(caplog.records) is attributes.startswith(b"nothing,,")  # only what is malformed


LOW, HIGH = f"{1:032x}", "f" * 32


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A collector that has all spans once tracing has ended."""
    monkeypatch.setattr(tracing_module, "FLUSH_LIMIT_S", 30.0)
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "handlers", [])
    with otlp_receiver() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("sampler", "arg", "root", "sampled_parent", "unsampled_parent"),
    [
        ("always_on", 0, True, [True, True], [True, True]),
        ("always_off", 1, False, [False, False], [False, False]),
        ("traceidratio", 0.5, None, [True, False], [True, False]),
        ("parentbased_always_on", 0, True, [True, True], [False, False]),
        ("parentbased_always_off", 1, False, [True, True], [False, False]),
        ("parentbased_traceidratio", 0, False, [True, True], [False, False]),
        ("parentbased_traceidratio", 1, True, [True, True], [False, False]),
    ],
)
async def test_the_sampler_decides_by_the_trace_id_or_the_parent(
    collector: OtlpReceiver,
    sampler: str,
    arg: float,
    *,
    root: bool | None,
    sampled_parent: list[bool],
    unsampled_parent: list[bool],
) -> None:
    settings = ServiceSettings(
        otel_exporter_otlp_endpoint=collector.url, otel_traces_sampler=sampler, otel_traces_sampler_arg=arg
    )
    async with open_tracing("rng", settings, lambda: 30.0) as tracing:
        for flags, trace_id in itertools.product(("01", "00"), (LOW, HIGH)):
            tracing.serve(f"00-{trace_id}-{'1' * 16}-{flags}", f"{flags}, {trace_id}", {}).end()
        began = [tracing.sample() for _ in range(200)]
        for number in filter(None, began):
            tracing.root(number, "batch", "INTERNAL", {}).end()
    for flags, sampled in (("01", sampled_parent), ("00", unsampled_parent)):
        assert [bool(collector.spans(f"{flags}, {trace_id}")) for trace_id in (LOW, HIGH)] == sampled
    assert {number is not None for number in began} == ({False, True} if root is None else {root})
    assert len(collector.spans("batch")) == 200 - began.count(None)


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"ff-{HIGH}-{'1' * 16}-00", f"00-{'0' * 32}-{'1' * 16}-00"])
async def test_an_invalid_traceparent_starts_a_trace(collector: OtlpReceiver, traceparent: str) -> None:
    async with open_tracing("rng", ServiceSettings(otel_exporter_otlp_endpoint=collector.url), lambda: 30.0) as tracing:
        tracing.serve(traceparent, "call", {}).end()
    (span,) = collector.spans()
    assert span.parent == ""
    assert span.trace not in traceparent


async def test_spans_arrive_as_they_were_recorded(collector: OtlpReceiver) -> None:
    async with open_tracing("rng", ServiceSettings(otel_exporter_otlp_endpoint=collector.url), lambda: 30.0) as tracing:
        root = tracing.root(1, "batch", "INTERNAL", {"size": 1, "part": 0.5, "auto": True, "pace": "full"})
        child = tracing.child(root, "rng", {})
        child.add_event("sent", {"to": "rng-1"})
        with pytest.raises(OSError, match="lost"), child:
            raise OSError("lost")
        root.end()
        root.end("too late")
        tracing.serve(child.traceparent, "call", {}).end()
    spans = {span.name: span for span in collector.spans()}
    for sent, recorded in ((spans["batch"], root), (spans["rng"], child)):
        assert (sent.trace, sent.id) == (f"{root.trace_id:032x}", f"{recorded.span_id:016x}")
        assert (sent.start, sent.end) == (recorded.began_ns / 1e9, recorded.ended_ns / 1e9)
    assert spans["batch"].attributes == {"size": 1, "part": 0.5, "auto": True, "pace": "full"}
    assert [span.kind for span in spans.values()] == ["CLIENT", "INTERNAL", "SERVER"]
    assert (spans["batch"].error, spans["rng"].error) == (None, "OSError: lost")
    assert spans["rng"].events == [("sent", {"to": "rng-1"})]
    assert {(span.parent, span.has_remote_parent) for span in spans.values()} == {
        ("", False),
        (spans["batch"].id, False),
        (spans["rng"].id, True),
    }


@pytest.mark.parametrize(("pace", "part"), [(Pace.CLASSIC, 1), (Pace.FULL, 0.01)])
def test_the_pace_decides_the_sampled_part_unless_it_is_set(pace: Pace, part: float) -> None:
    settings = ServiceSettings(pace=pace)
    assert (settings.otel_traces_sampler, settings.otel_traces_sampler_arg) == ("parentbased_traceidratio", part)
    traced = ServiceSettings(pace=pace, otel_exporter_otlp_endpoint=COLLECTOR, otel_traces_sampler_arg=0)
    assert traced.otel_traces_sampler_arg == 0
    assert WebuiSettings(pace=pace).otel_traces_sampler_arg == 1


@pytest.mark.parametrize(("value", "lines"), [("yes", 1), ("False", 0), ("", 0)])
async def test_an_invalid_boolean_is_reported(value: str, lines: int) -> None:
    settings = ServiceSettings(otel_exporter_otlp_endpoint=COLLECTOR, otel_sdk_disabled=value)
    with structlog.testing.capture_logs() as said:
        async with open_tracing("rng", settings, lambda: 0.0):
            pass
    assert len(said) == lines


@pytest.mark.parametrize("interval", [60.0, 0.01])
async def test_troubles_that_are_held_back_are_logged_once_the_interval_has_passed_or_at_the_end(
    monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    monkeypatch.setattr(tracing_module, "LOG_INTERVAL_S", interval)
    sdk_logger = logging.getLogger("opentelemetry")
    monkeypatch.setattr(sdk_logger, "handlers", [])
    monkeypatch.setattr(sdk_logger, "propagate", True)
    with structlog.testing.capture_logs() as lines:
        async with open_tracing("rng", ServiceSettings(otel_exporter_otlp_endpoint=COLLECTOR), lambda: 0.0):
            sdk_logger.error("first")
            sdk_logger.error("last")
            if interval < 1:
                await until(lambda: len(lines) == 2)
    assert [(line["cause"], line["times"]) for line in lines] == [("first", 1), ("last", 1)]
