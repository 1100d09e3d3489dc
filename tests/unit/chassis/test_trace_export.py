import logging
import os

import pytest
import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from support.waiting import until

from chassis.settings import ServiceSettings
from chassis.telemetry import trace_export

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
    resource = trace_export._resource("rng", "rng-1")
    assert found.items() <= resource.attributes.items()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "other")
    assert trace_export._resource("rng", "rng-1").attributes["service.name"] == "other"
    span = ReadableSpan("batch", SpanContext(1, 1, is_remote=False), resource=resource)
    assert encode_spans([span]).SerializeToString()
    assert bool(caplog.records) is attributes.startswith(b"nothing,,")  # only what is malformed


async def test_the_sampler_that_is_set_decides() -> None:
    settings = ServiceSettings(otel_exporter_otlp_endpoint=COLLECTOR, otel_traces_sampler="always_off")
    async with trace_export.exported("rng", settings, lambda: 0.0) as tracing:
        assert tracing.root("batch", "internal", {}) is None


@pytest.mark.parametrize(("value", "lines"), [("yes", 1), ("False", 0), ("", 0)])
async def test_a_boolean_that_is_none_is_said(value: str, lines: int) -> None:
    settings = ServiceSettings(otel_exporter_otlp_endpoint=COLLECTOR, otel_sdk_disabled=value)
    with structlog.testing.capture_logs() as said:
        async with trace_export.exported("rng", settings, lambda: 0.0):
            pass
    assert len(said) == lines


@pytest.mark.parametrize("interval", [60.0, 0.01])
async def test_troubles_that_are_held_back_are_logged_once_the_interval_has_passed_or_at_the_end(
    monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    monkeypatch.setattr(trace_export, "TROUBLE_EVERY", interval)
    sdk_logger = logging.getLogger("opentelemetry")
    monkeypatch.setattr(sdk_logger, "handlers", [])
    monkeypatch.setattr(sdk_logger, "propagate", True)
    with structlog.testing.capture_logs() as lines:
        async with trace_export.exported("rng", ServiceSettings(otel_exporter_otlp_endpoint=COLLECTOR), lambda: 0.0):
            sdk_logger.error("first")
            sdk_logger.error("last")
            if interval < 1:
                await until(lambda: len(lines) == 2)
    assert [(line["cause"], line["times"]) for line in lines] == [("first", 1), ("last", 1)]
