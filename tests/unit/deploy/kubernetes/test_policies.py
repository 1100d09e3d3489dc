"""What must hold for all objects of every overlay, and of the components together."""

from collections.abc import Callable, Sequence

import pytest
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.policies import images, probes, references, restricted, settings, stopping
from unit.deploy.kubernetes.rendered import EVERY, Object

Complaints = Callable[[Sequence[Object]], list[str]]

POLICIES: dict[str, Complaints] = {
    "restricted": restricted.complaints,
    "probes": probes.complaints,
    "settings": settings.complaints,
    "references": references.complaints,
    "stopping": stopping.complaints,
    "images": images.complaints,
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("names", EVERY, ids="+".join)
def test_nothing_is_to_be_complained_of(names: tuple[str, ...], policy: str) -> None:
    assert POLICIES[policy](rendered.render(*names)) == []


@pytest.mark.parametrize("names", EVERY, ids="+".join)
def test_no_namespace_is_baked_in(names: tuple[str, ...]) -> None:
    assert [each for each in rendered.render(*names) if "namespace" in each["metadata"]] == []


@pytest.mark.parametrize("names", EVERY, ids="+".join)
def test_everything_says_what_it_is_part_of(names: tuple[str, ...]) -> None:
    objects = rendered.render(*names)
    assert {each["metadata"]["labels"]["app.kubernetes.io/part-of"] for each in objects} == {"dockercoins"}


def test_what_makes_pods_has_the_names_that_people_type() -> None:
    """`kubectl scale deployment worker`, `kubectl logs --selector app=worker`."""
    names = [rendered.name_of(each) for each in rendered.render("classic")]
    assert {"deployment/rng", "deployment/hasher", "deployment/worker", "deployment/webui", "statefulset/redis"} < set(
        names
    )
    assert rendered.named(rendered.render("full", "rng-daemonset"), "DaemonSet", "rng")


@pytest.mark.parametrize("name", ["rng", "hasher", "worker", "webui"])
def test_replicas_go_to_different_nodes_where_there_are_some(name: str) -> None:
    """And to one where there is but one."""
    spec = rendered.named(rendered.render("classic"), "Deployment", name)["spec"]["template"]["spec"]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_daemonset_is_the_deployments_pod() -> None:
    deployment = rendered.named(rendered.render("full"), "Deployment", "rng")["spec"]["template"]
    daemonset = rendered.named(rendered.render("full", "rng-daemonset"), "DaemonSet", "rng")["spec"]["template"]
    del deployment["spec"]["topologySpreadConstraints"]
    assert daemonset == deployment


def test_the_order_of_components_that_know_nothing_of_each_other_is_no_matter() -> None:
    one, other = rendered.render("tls", "rng-daemonset"), rendered.render("rng-daemonset", "tls")
    assert sorted(one, key=rendered.name_of) == sorted(other, key=rendered.name_of)


def test_names_of_services_lead_to_all_pods_that_are_ready() -> None:
    for name in ("rng", "hasher", "webui", "redis"):
        spec = rendered.named(rendered.render("observability"), "Service", name)["spec"]
        assert spec["clusterIP"] == "None"
        assert not spec.get("publishNotReadyAddresses")


def test_a_number_that_was_scaled_to_survives_applying_again() -> None:
    for names, kinds in (
        (("classic",), ("rng", "hasher", "worker", "webui")),
        (("full", "autoscaling"), ("rng", "hasher")),
    ):
        for name in kinds:
            assert "replicas" not in rendered.named(rendered.render(*names), "Deployment", name)["spec"]
    worker = rendered.named(rendered.render("observability", "autoscaling-worker"), "Deployment", "worker")
    assert "replicas" not in worker["spec"]
