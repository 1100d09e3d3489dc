import logging
import os

import pytest
import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from support.waiting import until

from chassis.settings import Pace, ServiceSettings
from chassis.telemetry import tracing as tracing_module
from chassis.telemetry.tracing import Tracing, open_tracing
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
    sampler: str, arg: float, *, root: bool | None, sampled_parent: list[bool], unsampled_parent: list[bool]
) -> None:
    settings = ServiceSettings(
        otel_exporter_otlp_endpoint=COLLECTOR, otel_traces_sampler=sampler, otel_traces_sampler_arg=arg
    )
    async with open_tracing("rng", settings, lambda: 0.0) as tracing:
        for flags, sampled in (("01", sampled_parent), ("00", unsampled_parent)):
            spans = [tracing.serve(f"00-{trace_id}-{'1' * 16}-{flags}", "call", {}) for trace_id in (LOW, HIGH)]
            assert [span is not None for span in spans] == sampled
        roots = [tracing.root("batch", "INTERNAL", {}) is not None for _ in range(200)]
    assert set(roots) == ({False, True} if root is None else {root})


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"ff-{HIGH}-{'1' * 16}-00", f"00-{'0' * 32}-{'1' * 16}-00"])
async def test_an_invalid_traceparent_starts_a_trace(traceparent: str) -> None:
    async with open_tracing("rng", ServiceSettings(otel_exporter_otlp_endpoint=COLLECTOR), lambda: 0.0) as tracing:
        span = tracing.serve(traceparent, "call", {})
        assert span is not None
        assert Tracing.traceparent(span).split("-")[1] not in traceparent


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
    monkeypatch.setattr(tracing_module, "TROUBLE_INTERVAL_S", interval)
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
