"""Exactly the flows of the design are let through."""

from collections.abc import Callable
from typing import Any

import pytest
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.flows import ANYWHERE, Flow, allowed
from unit.deploy.kubernetes.pods import pods
from unit.deploy.kubernetes.rendered import EVERY, Object, named

DESIGN = {
    Flow("worker", "rng", "50051/TCP"),
    Flow("worker", "hasher", "50151/TCP"),
    Flow("worker", "redis", "6379/TCP"),
    Flow("webui", "redis", "6379/TCP"),
    Flow(ANYWHERE, "webui", "8000/TCP"),
}

MORE = {
    "observability": {
        Flow("prometheus", "rng", "9101/TCP"),
        Flow("prometheus", "hasher", "9102/TCP"),
        Flow("prometheus", "worker", "9103/TCP"),
        Flow("prometheus", "webui", "9104/TCP"),
    },
    "autoscaling-worker": {Flow("prometheus-adapter", "prometheus", "9090/TCP")},
}
"""What a component adds."""


def wanted(names: tuple[str, ...], objects: list[Object]) -> set[Flow]:
    """The design's, those of components, and everybody's questions to DNS."""
    flows = DESIGN.union(*(MORE.get(name, set()) for name in names))
    return (
        flows
        | {Flow(pod.name, ANYWHERE, port) for pod in pods(objects) for port in ("53/UDP", "53/TCP")}
        | (
            # Which is anywhere, too.
            {Flow("prometheus-adapter", "webui", "8000/TCP")} if "autoscaling-worker" in names else set()
        )
    )


@pytest.mark.parametrize("names", EVERY, ids="+".join)
def test_what_is_let_through_is_what_the_design_has(names: tuple[str, ...]) -> None:
    objects = rendered.render(*names)
    found, expected = allowed(objects), wanted(names, objects)
    # Another namespace may have a name server of its own.
    found -= {flow for flow in found if flow.target == "prometheus-adapter" and flow.port.startswith("53/")}
    assert (found - expected, expected - found) == (set(), set())


BROKEN: dict[str, tuple[str, Callable[[Any], object], Flow]] = {
    "everybody's requests": ("rng", lambda spec: spec["ingress"][0].pop("from"), Flow(ANYWHERE, "rng", "50051/TCP")),
    "all ports": ("webui", lambda spec: spec["ingress"].append({}), Flow(ANYWHERE, "webui", "9104/TCP")),
    "requests of whoever has a label": (
        "redis",
        lambda spec: spec["ingress"][0]["from"].append({"namespaceSelector": {}}),
        Flow("other namespaces", "redis", "6379/TCP"),
    ),
    "all that is asked": ("dns", lambda spec: spec["egress"].append({}), Flow("rng", ANYWHERE, "1/TCP")),
    "a network": (
        "worker",
        lambda spec: spec["egress"][0]["to"].append({"ipBlock": {"cidr": "0.0.0.0/0"}}),
        Flow("worker", ANYWHERE, "50051/TCP"),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_policy_that_lets_too_much_through_is_found(what: str) -> None:
    name, break_it, through = BROKEN[what]
    objects = rendered.render("classic")
    assert through not in allowed(objects)
    break_it(named(objects, "NetworkPolicy", name)["spec"])
    assert through in allowed(objects)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("rng", Flow("worker", "rng", "50051/TCP")),
        ("worker", Flow("worker", "hasher", "50151/TCP")),
        ("redis-clients", Flow("webui", "redis", "6379/TCP")),
        ("webui", Flow(ANYWHERE, "webui", "8000/TCP")),
        ("dns", Flow("worker", ANYWHERE, "53/UDP")),
    ],
)
def test_a_policy_that_is_missing_is_found(name: str, lost: Flow) -> None:
    objects = rendered.render("classic")
    objects.remove(named(objects, "NetworkPolicy", name))
    assert lost in DESIGN | wanted(("classic",), objects)
    assert lost not in allowed(objects)


def test_a_missing_denial_is_found() -> None:
    objects = rendered.render("classic")
    objects.remove(named(objects, "NetworkPolicy", "dockercoins-deny"))
    assert Flow("redis", ANYWHERE, "1/TCP") not in allowed(objects)  # it has a policy of its own for questions to DNS
    assert Flow(ANYWHERE, "worker", "9103/TCP") in allowed(objects)
