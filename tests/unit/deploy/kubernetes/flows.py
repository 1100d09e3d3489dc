"""Who may talk to whom, computed from network policies as Kubernetes does.

A pod that a policy of a direction selects has in that direction what such policies allow it, together; one that none
selects has all. What goes between two pods must be allowed at both
(https://kubernetes.io/docs/concepts/services-networking/network-policies/).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from unit.deploy.kubernetes.pods import Pod, pods
from unit.deploy.kubernetes.rendered import Object, of_kind
from unit.deploy.kubernetes.selector import matches

ANYWHERE = "anywhere"

UNUSED_PORT = 1
"""Of no service: who is allowed this one is allowed any."""


class Flow(NamedTuple):
    """Connections or datagrams that are let through."""

    source: str
    target: str
    port: str
    """With the protocol, such as 53/UDP."""


@dataclass(frozen=True)
class _End:
    """A pod here, or somebody elsewhere: with labels in another namespace, without any on no cluster at all."""

    name: str
    labels: Mapping[str, str] | None
    pod: Pod | None = None


class _Port(NamedTuple):
    number: int
    protocol: str


def allowed(objects: Sequence[Object]) -> set[Flow]:
    """All flows from and to the pods among these objects."""
    policies = list(of_kind(objects, "NetworkPolicy"))
    here = [_End(pod.name, pod.labels, pod) for pod in pods(objects)]
    elsewhere = [_End(ANYWHERE, None), *_strangers(policies)]
    ends = [(one, other) for one in (*here, *elsewhere) for other in (*here, *elsewhere) if one.pod or other.pod]
    return {
        Flow(source.name, target.name, f"{port.number}/{port.protocol}")
        for source, target in ends
        for port in _ports(policies, here)
        if source is not target and _lets(policies, "egress", source, target, port)
        if _lets(policies, "ingress", target, source, port)
    }


def _strangers(policies: Sequence[Object]) -> list[_End]:
    """Those of other namespaces that a policy speaks of."""
    peers = [
        peer
        for policy in policies
        for direction, side in (("ingress", "from"), ("egress", "to"))
        for rule in policy["spec"].get(direction, [])
        for peer in rule.get(side, [])
        if "namespaceSelector" in peer
    ]
    found = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in peers]
    return [_End(labels.get("app.kubernetes.io/name", "other namespaces"), labels) for labels in found]


def _ports(policies: Sequence[Object], here: Iterable[_End]) -> set[_Port]:
    used = {_Port(UNUSED_PORT, "TCP"), _Port(UNUSED_PORT, "UDP")}
    used |= {_Port(number, "TCP") for end in here if end.pod is not None for number in end.pod.ports.values()}
    for policy in policies:
        for direction in ("ingress", "egress"):
            for rule in policy["spec"].get(direction, []):
                for port in rule.get("ports", []):
                    # A name or a range would have to be looked up: none is used here, and none goes unnoticed.
                    assert port.keys() <= {"port", "protocol"}
                    assert isinstance(port["port"], int)
                    used.add(_Port(port["port"], port.get("protocol", "TCP")))
    return used


def _lets(policies: Sequence[Object], direction: str, end: _End, peer: _End, port: _Port) -> bool:
    if end.pod is None or end.labels is None:
        return True  # nobody here decides that
    own = [
        policy["spec"]
        for policy in policies
        if direction.title() in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], end.labels)
    ]
    side = "from" if direction == "ingress" else "to"
    rules = [rule for spec in own for rule in spec.get(direction, [])]
    return not own or any(_speaks_of(rule, side, peer) and _has(rule, port) for rule in rules)


def _speaks_of(rule: Object, side: str, peer: _End) -> bool:
    peers = rule.get(side, [])
    return not peers or any(_is(each, peer) for each in peers)


def _is(said: Object, peer: _End) -> bool:
    assert said.keys() <= {"podSelector", "namespaceSelector", "ipBlock"}
    if "ipBlock" in said:
        return peer.name == ANYWHERE
    if peer.labels is None:
        return False
    if "namespaceSelector" in said:
        return matches(said.get("podSelector", {}), peer.labels)
    return peer.pod is not None and matches(said["podSelector"], peer.labels)


def _has(rule: Object, port: _Port) -> bool:
    ports = rule.get("ports", [])
    return not ports or port in {_Port(each["port"], each.get("protocol", "TCP")) for each in ports}
