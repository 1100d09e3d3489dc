"""What the autoscalers go by exists, and leads somewhere."""

from math import ceil

import pytest
import yaml
from support.compose_project import ROOT
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.rendered import Object, named

A_WORKER = 1 / 0.3
"""Hashes/s at the classic pace, when it waits for nobody."""

AN_RNG = 10
"""Hashes/s at the classic pace."""

TOLERANCE = 0.1
"""How far from its target Kubernetes leaves a metric alone, by default."""


MOST_CPU = 0.8
"""Of a core."""


def scaler(name: str, *names: str) -> Object:
    return dict(named(rendered.render(*names), "HorizontalPodAutoscaler", name)["spec"])


def number(quantity: str) -> float:
    """A quantity of Kubernetes', such as `700m` or `2`."""
    return int(quantity.removesuffix("m")) / 1_000 if quantity.endswith("m") else float(quantity)


def rule() -> Object:
    text = (rendered.FOLDER / "components" / "autoscaling-worker" / "adapter-rules.yaml").read_text()
    (only,) = yaml.safe_load(text)["rules"]["external"]
    return dict(only)


def test_the_workers_metric_is_made_of_one_that_workers_have() -> None:
    (metric,) = scaler("worker", "observability", "autoscaling-worker")["metrics"]
    assert metric["external"]["metric"]["name"] == rule()["name"]["as"]
    assert f"| `{rule()['seriesQuery']}` |" in (ROOT / "docs" / "metrics.md").read_text()
    # Prometheus says nothing of namespaces, so nobody may ask for one.
    assert rule()["resources"] == {"namespaced": False}


@pytest.mark.parametrize("noise", [0.95, 1, 1.05])
@pytest.mark.parametrize(("rngs", "least", "most"), [(1, 3, 5), (2, 6, 9), (4, 12, 17)])
def test_workers_become_as_many_as_the_rngs_feed_and_stay_so(rngs: int, least: int, most: int, noise: float) -> None:
    """With Kubernetes' formula (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/)."""
    spec = scaler("worker", "observability", "autoscaling-worker")
    target = number(spec["metrics"][0]["external"]["target"]["averageValue"])
    workers, before = spec["minReplicas"], 0
    for _ in range(spec["maxReplicas"]):
        before = workers
        speed = min(workers * A_WORKER, rngs * AN_RNG) * noise
        if abs(speed / workers / target - 1) > TOLERANCE:
            workers = min(spec["maxReplicas"], ceil(speed / target))
    assert workers == before
    assert least <= workers <= most


def test_no_target_is_more_cpu_than_a_replica_reaches() -> None:
    """Nearly all that a service does is in one thread, so its replica that is full takes one core and little more.

    What others take of the node lowers even that, and a target that is not reached scales nothing.
    """
    targets = [
        metric["resource"]["target"]["averageValue"]
        for each in rendered.of_kind(rendered.render("full", "autoscaling"), "HorizontalPodAutoscaler")
        for metric in each["spec"]["metrics"]
    ]
    assert len(targets) == 2
    assert [target for target in targets if number(target) > MOST_CPU] == []


def test_no_autoscaler_flaps() -> None:
    """What is looked at is an average of a minute, so nothing is done faster; and less is wanted for long before."""
    objects = rendered.render("full", "autoscaling", "observability", "autoscaling-worker")
    scalers = [each["spec"] for each in rendered.of_kind(objects, "HorizontalPodAutoscaler")]
    assert len(scalers) == 3
    for spec in scalers:
        assert spec["minReplicas"] < spec["maxReplicas"]
        assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] >= 60
        assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
        for direction in ("scaleUp", "scaleDown"):
            for policy in spec["behavior"][direction]["policies"]:
                assert policy["periodSeconds"] >= 60
