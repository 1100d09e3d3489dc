"""The variables of OpenTelemetry's specification, as it has them, whoever set them for whatever program."""

import pytest

from chassis.settings import Sampler, ServiceSettings, SettingsError

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def load(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> ServiceSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return ServiceSettings.load()


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, ""),
        (COLLECTOR, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector/under/"}, "http://collector/under/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318"}, "http://traces:4318"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces/as/it/is/"}, "https://traces/as/it/is/"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""}, "http://collector:4318/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces"},
            "http://traces",
        ),
    ],
)
def test_spans_go_where_the_variables_say(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str) -> None:
    assert load(monkeypatch, variables).collector_url == url


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_SDK_DISABLED": "True"},
        {"OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "None"},
    ],
)
def test_spans_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    assert not load(monkeypatch, {**COLLECTOR, **variables}).collector_url


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "false"},
        {"OTEL_SDK_DISABLED": "1"},
        {"OTEL_SDK_DISABLED": "yes"},
        {"OTEL_SDK_DISABLED": ""},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_TRACES_EXPORTER": ""},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "HTTP/protobuf"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
def test_only_what_the_specification_names_turns_them_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    assert load(monkeypatch, {**COLLECTOR, **variables}).collector_url


def test_the_name_of_a_sampler_may_be_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {**COLLECTOR, "OTEL_TRACES_SAMPLER": "Always_On"}
    assert load(monkeypatch, variables).otel_traces_sampler is Sampler.ALWAYS_ON


WRONG = [
    {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
    {"OTEL_TRACES_EXPORTER": "zipkin"},
    {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
    {"OTEL_TRACES_SAMPLER_ARG": "endpoint=http://jaeger:14250"},
]


@pytest.mark.parametrize("variables", WRONG)
@pytest.mark.parametrize("off", [{}, {**COLLECTOR, "OTEL_SDK_DISABLED": "true"}], ids=["no collector", "disabled"])
def test_a_value_for_other_programs_stops_no_service_without_traces(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], off: dict[str, str]
) -> None:
    assert not load(monkeypatch, {**variables, **off}).collector_url


@pytest.mark.parametrize("variables", WRONG)
def test_with_a_collector_the_same_value_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    [(name, value)] = variables.items()
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, {**COLLECTOR, **variables})
    assert str(error.value).startswith(f"{name}={value!r} is not allowed: it must be ")
    assert "\n" not in str(error.value)
