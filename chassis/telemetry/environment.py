"""The variables of OpenTelemetry's specification, by its rules.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from collections.abc import Mapping

_ENDPOINT = "otel_exporter_otlp_endpoint"
_TRACES_ENDPOINT = "otel_exporter_otlp_traces_endpoint"
_PROTOCOL = "otel_exporter_otlp_protocol"
_TRACES_PROTOCOL = "otel_exporter_otlp_traces_protocol"
_EXPORTER = "otel_traces_exporter"
_DISABLED = "otel_sdk_disabled"

_WORDS = (_PROTOCOL, _TRACES_PROTOCOL, _EXPORTER, _DISABLED, "otel_traces_sampler")


def in_effect(variables: Mapping[str, object]) -> dict[str, object]:
    """Return the variables that have an effect, by their names in lower case.

    An empty variable is unset, words are in any case, and a variable for traces alone replaces the one for all signals.
    Without a collector no variable has an effect: others set them for programs of their own, and no such value may stop
    a service.
    """
    found = {name: value for name, value in variables.items() if value != ""}
    for name in _WORDS:
        if isinstance(word := found.get(name), str):
            found[name] = word.strip().lower()
    for general, for_traces in ((_ENDPOINT, _TRACES_ENDPOINT), (_PROTOCOL, _TRACES_PROTOCOL)):
        if for_traces in found:
            found.pop(general, None)
    no_collector = _ENDPOINT not in found and _TRACES_ENDPOINT not in found
    if no_collector or found.get(_DISABLED) == "true" or found.get(_EXPORTER) == "none":
        return {}
    return found
