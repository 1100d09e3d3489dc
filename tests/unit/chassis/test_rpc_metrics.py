"""The metrics of calls, by the names and labels that dashboards for gRPC know."""

from typing import Literal

import pytest
from prometheus_client import CollectorRegistry

from chassis.telemetry.rpc_metrics import RpcMetrics

LABELS = {"grpc_type": "bidi_stream", "grpc_service": "a.B", "grpc_method": "C"}


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_method_is_shown_before_its_first_call(side: Literal["client", "server"]) -> None:
    """So that a rate of failures is 0 and not unknown."""
    metrics, registry = RpcMetrics(side), CollectorRegistry()
    metrics.method("bidi_stream", "/a.B/C")
    registry.register(metrics)
    for name in ("started_total", "msg_received_total", "msg_sent_total", "handling_seconds_count"):
        assert registry.get_sample_value(f"grpc_{side}_{name}", LABELS) == 0
    assert registry.get_sample_value(f"grpc_{side}_handled_total", {**LABELS, "grpc_code": "OK"}) == 0
