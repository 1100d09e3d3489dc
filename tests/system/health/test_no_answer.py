"""Rows of docs/operations.md: wedged, frozen."""

import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families
from system.health.system import ALIVE, FULL_NAMES, READY, SERVICES, Service, System, until


def assert_silent(service: Service) -> None:
    """No probe is answered in its time, of whatever protocol."""
    if service.name in FULL_NAMES:
        assert service.statuses(0.3) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    with pytest.raises(TimeoutError):
        service.ask("/healthz")


def assert_well(service: Service) -> None:
    until(lambda: service.ready == READY)
    assert service.alive == ALIVE
    if service.name in FULL_NAMES:
        assert service.statuses() == ("SERVING", "SERVING")


def lags_over(service: Service, seconds: float) -> float:
    """How often the event loop's lag was longer, which must be a bucket's bound."""
    _, text = service.ask("/metrics")
    name = "dockercoins_event_loop_lag_seconds"
    [lag] = [family for family in text_string_to_metric_families(text) if family.name == name]
    buckets = {float(each.labels["le"]): each.value for each in lag.samples if each.name == f"{name}_bucket"}
    return buckets[float("inf")] - buckets[seconds]


@pytest.mark.parametrize("name", SERVICES)
def test_a_blocked_event_loop_fails_liveness_and_shows_in_the_metrics_afterwards(system: System, name: str) -> None:
    service = system.start_with_others(name, "wedged")
    assert lags_over(service, 2.097152) == 0
    service.process.send(signal.SIGUSR1)
    service.process.wait_for("blocked")
    assert_silent(service)
    service.process.wait_for("free again")
    assert_well(service)
    until(lambda: lags_over(service, 2.097152) == 1)


@pytest.mark.parametrize("name", SERVICES)
def test_a_frozen_process_fails_liveness_until_it_goes_on(system: System, name: str) -> None:
    service = system.start_with_others(name)
    service.process.send(signal.SIGSTOP)
    assert_silent(service)
    service.process.send(signal.SIGCONT)
    assert_well(service)
