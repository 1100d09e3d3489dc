"""Without a collector there is nothing of traces in a process, and a wrong setting stops it."""

import re
import urllib.request

import pytest
from support.free_port import free_port
from support.otlp_receiver import OtlpReceiver
from support.service_process import ServiceProcesses

SERVICES = pytest.mark.parametrize("service", ["rng", "hasher", "worker", "webui"])


def imported(processes: ServiceProcesses, service: str, **settings: object) -> str:
    """What a process imports until it is ready to be told to stop, as Python tells it."""
    process = processes.start(
        service, PYTHONPROFILEIMPORTTIME=1, REDIS_URL=f"redis://127.0.0.1:{free_port()}", **settings
    )
    process.wait_until_started()
    assert process.stop() == 0
    assert "| chassis.process" in process.text.replace("  ", "")
    return process.text


@SERVICES
@pytest.mark.parametrize(
    "settings",
    [
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "True"},
    ],
    ids=["no endpoint", "disabled"],
)
def test_opentelemetry_is_not_imported_without_a_collector(
    service: str, settings: dict[str, object], processes: ServiceProcesses
) -> None:
    # What redis-py tries to import, and is kept from importing, is said as well.
    assert not re.search(r"opentelemetry\.(exporter|sdk\.(resources|trace))", imported(processes, service, **settings))


@SERVICES
def test_opentelemetry_is_imported_with_one(service: str, processes: ServiceProcesses, collector: OtlpReceiver) -> None:
    assert "opentelemetry.sdk.trace.export" in imported(processes, service, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)


@SERVICES
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT='localhost:4318' is not allowed: it must be http://HOST:PORT, https://",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:secret@"},
            "OTEL_EXPORTER_OTLP_ENDPOINT='http://***@' is not allowed",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "it must be http/protobuf"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "it must be always_on or always_off or "),
        ({"OTEL_TRACES_SAMPLER_ARG": "1.1"}, "it must be a number from 0 to 1 (part of the traces)"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "max_queue_size must be a positive integer"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_two(
    service: str, setting: dict[str, object], said: str, processes: ServiceProcesses, collector: OtlpReceiver
) -> None:
    process = processes.start(service, **{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **setting})
    assert process.popen.wait(20) == 2
    assert process.text.startswith(f"{service}: ")
    assert said in process.text
    assert process.text.count("\n") == 1


def test_who_tells_can_be_told_otherwise(processes: ServiceProcesses, collector: OtlpReceiver) -> None:
    page = processes.start(
        "webui",
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}/under/",
        OTEL_SERVICE_NAME="page",
        OTEL_RESOURCE_ATTRIBUTES="service.namespace=class,room=7",
        OTEL_BSP_SCHEDULE_DELAY=100,
    )
    page.wait_until_started()
    with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/", timeout=5):
        pass
    collector.wait_for(len)
    assert page.stop() == 0
    (span,) = collector.spans()
    assert collector.paths == {"/under/v1/traces"}
    ours = {"service.name": "page", "service.namespace": "class", "room": "7", "service.instance.id": page.instance}
    assert ours.items() <= span.resource.items()
