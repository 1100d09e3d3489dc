"""What one worker sees of its replicas, as it says in its own key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chassis.endpoint_state import EndpointState
from chassis.stored import MAX_REPLICAS
from webui_svc import latency, stored_json
from webui_svc.stored_json import MalformedJsonError

SERVICES = ("rng", "hasher")

MOST_BYTES = 256 * 1024

_MOST_BATCHES = 2**53
_MOST_SECONDS = 86_400.0


_STATES = {state.value: state for state in EndpointState}


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of rng or hasher: batches it answered, and their latencies by bucket."""

    name: str
    address: str
    """Where a worker reaches it, as IP address and port."""
    state: EndpointState
    batches: int
    latency: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class View:
    """All replicas of a worker by service, over the seconds since its report before."""

    seconds: float
    replicas: Mapping[str, tuple[Replica, ...]]


def parse(raw: bytes) -> View:
    """What a worker sees. Raises MalformedJsonError when it can't be told."""
    data = stored_json.parse(raw, MOST_BYTES)
    seconds = stored_json.number(data, "seconds", _MOST_SECONDS)
    return View(seconds, {service: _replicas(data, service) for service in SERVICES})


def _replicas(data: Any, service: str) -> tuple[Replica, ...]:
    return tuple(_replica(each) for each in stored_json.array(data, service, MAX_REPLICAS))


def _replica(data: Any) -> Replica:
    state = _STATES.get(stored_json.text(data, "state"))
    if state is None:
        raise MalformedJsonError(f"state: not {', '.join(EndpointState)}")
    return Replica(
        stored_json.text(data, "name"),
        stored_json.text(data, "address"),
        state,
        stored_json.whole(data, "batches", _MOST_BATCHES),
        latency.parse(stored_json.member(data, "latency")),
    )
