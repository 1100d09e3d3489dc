"""Each policy finds what is wrong: an object is broken, and it says so."""

from collections.abc import Callable
from typing import Any

import pytest
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.rendered import Object, named
from unit.deploy.kubernetes.test_policies import POLICIES

Break = Callable[[Any, Object, Object], object]
"""Breaks a workload, its pod's spec or its container."""

# By policy: a workload, of an overlay if not of `classic`, how it is broken, and what is said of it.
BROKEN: dict[str, dict[str, tuple[str, Break, str]]] = {
    "restricted": {
        "host network": ("rng", lambda w, p, c: p.update(hostNetwork=True), "hostNetwork"),
        "host path": (
            "tls/rng",
            lambda w, p, c: p["volumes"].append({"name": "disk", "hostPath": {"path": "/"}}),
            "hostPath",
        ),
        "privileged": ("rng", lambda w, p, c: c["securityContext"].update(privileged=True), "privileged"),
        "escalation": (
            "hasher",
            lambda w, p, c: c["securityContext"].pop("allowPrivilegeEscalation"),
            "allowPrivilegeEscalation",
        ),
        "root": ("redis", lambda w, p, c: p["securityContext"].update(runAsUser=0), "runAsUser"),
        "perhaps root": ("redis", lambda w, p, c: p["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        "root in the container": (
            "rng",
            lambda w, p, c: c["securityContext"].update(runAsNonRoot=False),
            "runAsNonRoot",
        ),
        "another user": ("rng", lambda w, p, c: p["securityContext"].update(runAsUser=10002), "not the image's"),
        "no seccomp": ("worker", lambda w, p, c: p["securityContext"].pop("seccompProfile"), "seccompProfile"),
        "capabilities": (
            "webui",
            lambda w, p, c: c["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
            "capabilities",
        ),
        "host port": ("webui", lambda w, p, c: c["ports"][0].update(hostPort=80), "hostPort"),
        "sysctls": ("rng", lambda w, p, c: p["securityContext"].update(sysctls=[{}]), "sysctls"),
        "writable root": (
            "observability/prometheus",
            lambda w, p, c: c["securityContext"].pop("readOnlyRootFilesystem"),
            "written to",
        ),
        "token": ("rng", lambda w, p, c: p.pop("automountServiceAccountToken"), "token"),
        "service links": ("rng", lambda w, p, c: p.pop("enableServiceLinks"), "variables"),
        "no limit": ("rng", lambda w, p, c: c["resources"].pop("limits"), "no limit"),
        "init container": (
            "rng",
            lambda w, p, c: p.update(initContainers=[{"name": "other", "image": "other"}]),
            "allowPrivilegeEscalation",
        ),
    },
    "probes": {
        "no probe": ("worker", lambda w, p, c: c.pop("livenessProbe"), "no livenessProbe"),
        "unknown health service": (
            "rng",
            lambda w, p, c: c["readinessProbe"]["grpc"].update(service="dockercoins.rng.v1.Rng"),
            "must ask for 'dockercoins.rng.v1.RngService'",
        ),
        "liveness that is readiness": (
            "hasher",
            lambda w, p, c: c["livenessProbe"]["grpc"].update(service="dockercoins.hasher.v1.HasherService"),
            "must ask for ''",
        ),
        "grpc probe elsewhere": ("rng", lambda w, p, c: c["startupProbe"]["grpc"].update(port=9101), "nobody listens"),
        "grpc probe under TLS": (
            "tls/rng",
            lambda w, p, c: c.update(livenessProbe={"grpc": {"port": 50051}}),
            "can't encrypt",
        ),
        "another port than clients use": (
            "tls/rng",
            lambda w, p, c: c.update(startupProbe={"tcpSocket": {"port": "metrics"}}),
            "no client connects to metrics",
        ),
        "no probe where clients are": (
            "tls/hasher",
            lambda w, p, c: c.update(startupProbe={"httpGet": {"path": "/healthz", "port": "metrics"}}),
            "no probe connects to 50151",
        ),
        "path": ("webui", lambda w, p, c: c["readinessProbe"]["httpGet"].update(path="/"), "/readyz"),
        "page port": (
            "webui",
            lambda w, p, c: c["readinessProbe"]["httpGet"].update(port="http"),
            "nobody who can be asked",
        ),
    },
    "settings": {
        "unknown variable": (
            "worker",
            lambda w, p, c: c["env"].append({"name": "BATCHSIZE", "value": "1"}),
            "BATCHSIZE",
        ),
        "variable of another service": (
            "rng",
            lambda w, p, c: c["env"].append({"name": "BATCH_SIZE", "value": "1"}),
            "BATCH_SIZE",
        ),
        "value": (
            "worker",
            lambda w, p, c: c["env"].append({"name": "WINDOW_SIZE", "value": "many"}),
            "WINDOW_SIZE='many' is not allowed",
        ),
        "no name": ("worker", lambda w, p, c: c["env"].clear(), "not told its name"),
        "port": ("hasher", lambda w, p, c: c["ports"][0].update(containerPort=50051), "listens on"),
        "moved port": ("hasher", lambda w, p, c: c["env"].append({"name": "PORT", "value": "50052"}), "listens on"),
    },
    "references": {
        "ConfigMap": (
            "rng",
            lambda w, p, c: c["envFrom"][0]["configMapRef"].update(name="settings"),
            "no ConfigMap settings",
        ),
        "Secret": (
            "tls/rng",
            lambda w, p, c: p["volumes"][0]["projected"]["sources"][0]["secret"].update(name="rng"),
            "no secret rng",
        ),
        "key of a Secret": (
            "tls/worker",
            lambda w, p, c: c["env"].append({"name": "TLS_CA", "value": "/run/certs/authority.pem"}),
            "no file /run/certs/authority.pem",
        ),
        "volume": ("observability/prometheus", lambda w, p, c: p["volumes"].pop(), "no volume data"),
        "claim": ("redis", lambda w, p, c: w["spec"].pop("volumeClaimTemplates"), "no volume"),
        "mount": ("tls/rng", lambda w, p, c: c["volumeMounts"].clear(), "is nowhere"),
        "pod labels": (
            "worker",
            lambda w, p, c: w["spec"]["template"]["metadata"]["labels"].update(app="miner"),
            "selects no pod",
        ),
        "selector": (
            "worker",
            lambda w, p, c: w["spec"]["selector"]["matchLabels"].update(app="miner"),
            "its own pods",
        ),
        "Service port": ("rng", lambda w, p, c: c["ports"][0].update(name="http2"), "its port grpc"),
        "governing Service": ("redis", lambda w, p, c: w["spec"].update(serviceName="ledger"), "no Service ledger"),
    },
    "stopping": {
        "grace": ("worker", lambda w, p, c: p.update(terminationGracePeriodSeconds=3), "killed before"),
        "no hook": ("rng", lambda w, p, c: c.pop("lifecycle"), "before DNS tells"),
        "rollout": (
            "rng",
            lambda w, p, c: w["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
            "before another is ready",
        ),
    },
    "images": {
        "image": ("rng", lambda w, p, c: c.update(image="registry.example/rng:dev"), "not docker"),
        "latest": ("redis", lambda w, p, c: c.update(image="redis"), "not redis:8"),
        "pull policy": ("rng", lambda w, p, c: c.update(imagePullPolicy="Always"), "not used"),
    },
}


@pytest.mark.parametrize(("policy", "what"), [(policy, what) for policy in BROKEN for what in BROKEN[policy]])
def test_a_broken_workload_is_found(policy: str, what: str) -> None:
    place, break_it, said = BROKEN[policy][what]
    overlay, _, name = place.rpartition("/")
    objects = rendered.render(overlay or "classic")
    broken = named(objects, "StatefulSet" if name == "redis" else "Deployment", name)
    pod = broken["spec"]["template"]["spec"]
    break_it(broken, pod, pod["containers"][0])
    assert said in "\n".join(POLICIES[policy](objects))


@pytest.mark.parametrize("budget", [{"minAvailable": 1}, {"maxUnavailable": 0}])
def test_a_budget_that_keeps_the_only_pod_is_found(budget: Object) -> None:
    objects = rendered.render("classic")
    spec = named(objects, "PodDisruptionBudget", "redis")["spec"]
    del spec["maxUnavailable"]
    spec.update(budget)
    assert POLICIES["stopping"](objects) == ["statefulset/redis: its budget keeps every node from being drained"]


def test_a_missing_budget_is_found() -> None:
    objects = rendered.render("classic")
    objects.remove(named(objects, "PodDisruptionBudget", "rng"))
    assert POLICIES["stopping"](objects) == ["deployment/rng: it has 0 budgets"]


def test_a_budget_of_a_daemonset_is_found() -> None:
    objects = rendered.render("full", "rng-daemonset")
    objects.append(named(rendered.render("full"), "PodDisruptionBudget", "rng"))
    assert POLICIES["stopping"](objects) == ["daemonset/rng: a budget of a DaemonSet's counts nothing"]


def test_an_autoscaler_of_nothing_is_found() -> None:
    objects = rendered.render("full", "autoscaling")
    named(objects, "HorizontalPodAutoscaler", "rng")["spec"]["scaleTargetRef"]["name"] = "random"
    assert POLICIES["references"](objects) == ["horizontalpodautoscaler/rng: there is no Deployment random"]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_a_selector_of_nothing_is_found(kind: str) -> None:
    objects = rendered.render("classic")
    spec = named(objects, kind, "rng")["spec"]
    if kind == "Service":
        spec["selector"] = {"app": "rgn"}
    else:
        spec["podSelector" if kind == "NetworkPolicy" else "selector"] = {"matchLabels": {"app": "rgn"}}
    assert f"{kind.lower()}/rng selects no pod" in POLICIES["references"](objects)


def test_a_setting_that_no_service_knows_is_found() -> None:
    objects = rendered.render("classic")
    (settings,) = (each for each in objects if each["kind"] == "ConfigMap")
    settings["data"]["PASE"] = "full"
    assert "PASE is a variable of no service" in POLICIES["settings"](objects)
