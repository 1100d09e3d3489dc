"""The metrics of calls, by the names and labels that dashboards for gRPC know."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from chassis.telemetry.rpc_metrics import MethodCounts, RpcMetrics

LABELS = {"grpc_type": "bidi_stream", "grpc_service": "a.B", "grpc_method": "C"}


@pytest.fixture
def metrics() -> RpcMetrics:
    return RpcMetrics("client")


@pytest.fixture
def counts(metrics: RpcMetrics) -> MethodCounts:
    return metrics.method("bidi_stream", "/a.B/C")


def value(metrics: RpcMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry.get_sample_value(name, {**LABELS, **labels})


def test_a_method_is_shown_before_its_first_call(metrics: RpcMetrics, counts: MethodCounts) -> None:
    """So that a rate of failures is 0 and not unknown."""
    for name in ("started_total", "msg_received_total", "msg_sent_total", "handling_seconds_count"):
        assert value(metrics, f"grpc_client_{name}") == 0
    assert value(metrics, "grpc_client_handled_total", grpc_code="OK") == 0


def test_what_is_counted_is_shown(metrics: RpcMetrics, counts: MethodCounts) -> None:
    counts.started += 3
    counts.received += 4
    counts.sent += 5
    counts.ended("OK", 0.5)
    counts.ended("UNAVAILABLE", 0.25)
    counts.ended("UNAVAILABLE", 2.0)
    assert value(metrics, "grpc_client_started_total") == 3
    assert value(metrics, "grpc_client_msg_received_total") == 4
    assert value(metrics, "grpc_client_msg_sent_total") == 5
    assert value(metrics, "grpc_client_handled_total", grpc_code="OK") == 1
    assert value(metrics, "grpc_client_handled_total", grpc_code="UNAVAILABLE") == 2
    assert value(metrics, "grpc_client_handling_seconds_count") == 3
    assert value(metrics, "grpc_client_handling_seconds_sum") == 2.75
    assert value(metrics, "grpc_client_handling_seconds_bucket", le="0.524288") == 2


def test_both_sides_have_names_of_their_own() -> None:
    registry = CollectorRegistry()
    for side in (RpcMetrics("server"), RpcMetrics("client")):
        side.method("unary", "/a.B/C")
        registry.register(side)
    text = generate_latest(registry).decode()
    assert "grpc_server_started_total{" in text
    assert "grpc_client_started_total{" in text
