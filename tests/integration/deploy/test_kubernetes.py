"""What must hold for the objects of all overlays and components, and what docs/kubernetes.md tells people to do."""

import copy
import json
import re
from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from packaging.version import Version
from support import kubernetes
from support.compose_project import ROOT
from support.kubernetes import EVERY, PROBES, Object, Pod, named, of_kind, pods, render

from chassis.settings import STOP_LIMIT_S
from deploy.certs import folders
from local_run.programs import SERVICES
from worker_svc.pool.pool import LOOKUP_INTERVAL_S

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()

# By their kinds, of which there is one each.
OBJECTS: dict[str, Any] = {
    said["kind"]: said
    for said in map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
}

# The first in which `preStop` can sleep without a feature's being switched on.
FIRST = "1.30"

VERSIONS = [
    version
    for version in dict.fromkeys(utils.major_minor(each) for each in utils.all_versions())
    if Version(version) >= Version(FIRST)
]

# Those that people make, as docs/kubernetes.md says, with their keys.
SECRETS = {
    **{f"{name}-tls": {"tls.crt", "tls.key", "ca.crt"} for name in (*SERVICES, "redis")},
    **{f"{name}-redis-password": {"redis-password"} for name in ("worker", "webui")},
    "redis-users": {"users.acl"},
}

# For which CoreDNS' answers are good where nobody says another time (https://coredns.io/plugins/kubernetes/).
DNS_TTL_S = 5


@pytest.fixture(params=EVERY, ids="+".join)
def objects(request: pytest.FixtureRequest) -> Sequence[Object]:
    return render(*request.param)


def ours(objects: Sequence[Object]) -> list[Pod]:
    return [pod for name, pod in pods(objects).items() if name in SERVICES]


def composed() -> dict[str, Object]:
    """The services of compose.yaml, where no variable is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text())
    return dict(yaml.safe_load(text)["services"])


@cache
def distinct_objects() -> list[Object]:
    """Of all renders together, and the page, each once."""
    everywhere = [OBJECTS["NetworkPolicy"], *(each for names in EVERY for each in render(*names))]
    return list({json.dumps(each, sort_keys=True): each for each in everywhere}.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", cache(utils.schema_contents))  # each is read once
    for each in distinct_objects():
        kubernetes_validate.validate(each, version, strict=True)


def test_objects_have_no_namespace_and_name_their_application() -> None:
    for each in distinct_objects():
        assert "namespace" not in each["metadata"]
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "dockercoins"


def test_pods_have_fewer_rights_than_the_restricted_profile_asks_for(objects: Sequence[Object]) -> None:
    """A cluster that enforces the profile (make e2e-kubernetes) checks the rest."""
    for pod in pods(objects).values():
        assert pod.container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False, "their variables are not settings"
        assert pod.container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert pod.container["resources"]["limits"].keys() == {"memory"}


def test_startup_probes_connect_to_the_port_of_clients(objects: Sequence[Object]) -> None:
    for pod in ours(objects):
        probe = pod.container["startupProbe"]
        if pod.name == "worker":
            assert probe["httpGet"]["port"] == "metrics"
        elif pod.name == "webui" or "TLS_CERT" in pod.environment:  # Kubernetes can't encrypt its gRPC probes
            assert probe["tcpSocket"]["port"] == ("http" if pod.name == "webui" else "grpc")
        else:
            assert probe["grpc"]["port"] == pod.ports["grpc"]


def test_every_budget_lets_the_only_pod_go(objects: Sequence[Object]) -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "PodDisruptionBudget")}
    counted = {pod.name for pod in pods(objects).values() if pod.workload["kind"] != "DaemonSet"}
    assert budgets.keys() == counted - {"prometheus"}
    for name, spec in budgets.items():
        assert spec["maxUnavailable"] == ("25%" if name == "worker" else 1)
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_what_an_autoscaler_sets_has_no_number() -> None:
    scaled = {("full", "autoscaling"): ("rng", "hasher"), ("observability", "autoscaling-worker"): ("worker",)}
    for names, deployments in scaled.items():
        assert not [each for each in deployments if "replicas" in named(render(*names), "Deployment", each)["spec"]]


def test_variables_and_ports_are_those_of_the_code(objects: Sequence[Object]) -> None:
    known = {name for settings in SERVICES.values() for name in settings.variables()}
    for pod in ours(objects):
        settings = SERVICES[pod.name]
        assert pod.shared_variables.keys() <= known
        assert {"INSTANCE"} <= pod.own_variables.keys() <= settings.variables()
        given = {name.lower(): value for name, value in pod.environment.items() if "/run/" not in value}
        loaded = settings.load(**{name: value for name, value in given.items() if name in settings.fields})
        ports = {getattr(loaded, name) for name in ("port", "metrics_port") if name in settings.fields}
        assert set(pod.ports.values()) == ports


def test_images_and_limits_of_memory_are_those_of_compose(objects: Sequence[Object]) -> None:
    """One that was loaded into a node is used, so none is pulled always."""
    for name, pod in pods(objects).items():
        assert pod.container["image"] == composed()[name]["image"]
        assert pod.container.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent"
    for pod in ours(objects):
        assert pod.container["resources"]["limits"]["memory"] == composed()[pod.name]["mem_limit"].upper() + "i"


def test_pods_have_the_time_to_stop_and_others_come_first(objects: Sequence[Object]) -> None:
    for pod in ours(objects):
        waits = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        limit = float(pod.own_variables.get("STOP_LIMIT", STOP_LIMIT_S))
        assert pod.spec["terminationGracePeriodSeconds"] > waits + limit
        if pod.name in {"rng", "hasher"}:
            assert waits >= DNS_TTL_S + LOOKUP_INTERVAL_S
        spec = pod.workload["spec"]
        strategy = spec.get("strategy", spec.get("updateStrategy"))
        assert strategy["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    assert pods(objects)["redis"].container["lifecycle"]["preStop"]["sleep"]["seconds"] == 10, (
        "for workers' last reports"
    )


# What compose.yaml calls otherwise; here names are those of Kubernetes' Secrets.
FILES = {
    "/run/certs/redis.pem": "/run/certs/tls.crt",
    "/run/certs/redis-key.pem": "/run/certs/tls.key",
    "/run/certs/ca.pem": "/run/certs/ca.crt",
}


@pytest.mark.parametrize("overlay", ["classic", "tls"])
def test_redis_is_started_and_probed_as_in_compose(overlay: str) -> None:
    encrypted = yaml.safe_load((ROOT / "compose.tls.yaml").read_text())["services"]
    redis = encrypted["redis"] if overlay == "tls" else composed()["redis"]
    here = pods(render(overlay))["redis"].container
    assert here["args"] == [FILES.get(word, word) for word in redis["command"]]
    test = [FILES.get(word, word) for word in redis["healthcheck"]["test"]]
    assert [["CMD", *here[probe]["exec"]["command"]] for probe in PROBES] == [test] * 3
    if overlay == "tls":
        for name in ("worker", "webui"):
            variables = pods(render(overlay))[name].own_variables
            for key in ("REDIS_URL", "REDIS_PASSWORD_FILE"):
                assert variables[key] == encrypted[name]["environment"][key]


def test_prometheus_is_started_as_in_compose_with_the_same_files_and_finds_all_by_name() -> None:
    objects = render("observability")
    assert pods(objects)["prometheus"].container["args"] == composed()["prometheus"]["command"]
    texts = {name: (ROOT / "deploy" / "prometheus" / name).read_text() for name in ("prometheus.yml", "rules.yml")}
    assert texts in [each["data"] for each in of_kind(objects, "ConfigMap")]
    for asked in yaml.safe_load(texts["prometheus.yml"])["scrape_configs"][0]["dns_sd_configs"]:
        ports = named(objects, "Service", asked["names"][0])["spec"]["ports"]
        assert asked["port"] in [port["port"] for port in ports]


def scalers(*names: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each["spec"] for each in of_kind(render(*names), "HorizontalPodAutoscaler")}


def number(quantity: str) -> float:
    """A quantity of Kubernetes', such as `700m` or `2`."""
    return int(quantity.removesuffix("m")) / 1_000 if quantity.endswith("m") else float(quantity)


def test_the_workers_scale_by_a_metric_that_workers_have() -> None:
    text = (kubernetes.FOLDER / "components" / "autoscaling-worker" / "adapter-rules.yaml").read_text()
    (rule,) = yaml.safe_load(text)["rules"]["external"]
    (metric,) = scalers(*EVERY[-1])["worker"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert f"| `{rule['seriesQuery']}` |" in (ROOT / "docs" / "metrics.md").read_text()
    assert rule["resources"] == {"namespaced": False}, "Prometheus has no label of the namespace"


@pytest.mark.parametrize("noise", [0.95, 1, 1.05])
@pytest.mark.parametrize(("rngs", "least", "most"), [(1, 3, 5), (2, 6, 9), (4, 12, 17)])
def test_workers_become_as_many_as_the_rngs_feed_and_stay_so(rngs: int, least: int, most: int, noise: float) -> None:
    """With Kubernetes' formula and tolerance (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/).

    At the classic pace a worker that waits for nobody makes 3.33 hashes/s, and an rng serves 10.
    """
    spec = scalers(*EVERY[-1])["worker"]
    target = number(spec["metrics"][0]["external"]["target"]["averageValue"])
    workers, before = spec["minReplicas"], 0
    for _ in range(spec["maxReplicas"]):
        before = workers
        speed = min(workers / 0.3, rngs * 10) * noise
        if abs(speed / workers / target - 1) > 0.1:
            workers = min(spec["maxReplicas"], ceil(speed / target))
    assert workers == before
    assert least <= workers <= most


def test_no_autoscaler_flaps_or_waits_for_cpu_that_no_replica_reaches() -> None:
    """What is looked at is an average of a minute, so nothing is done faster.

    Nearly all that a service does is in one thread, so a replica that is full takes one core, less what others take.
    """
    by_cpu, everywhere = scalers("full", "autoscaling"), scalers(*EVERY[-1])
    assert everywhere.keys() == {"hasher", "worker"}, "a DaemonSet has no scaler"
    for spec in (*by_cpu.values(), everywhere["worker"]):
        assert spec["minReplicas"] < spec["maxReplicas"]
        assert all(way["stabilizationWindowSeconds"] >= 60 for way in spec["behavior"].values())
    for spec in by_cpu.values():
        (metric,) = spec["metrics"]
        assert number(metric["resource"]["target"]["averageValue"]) == 0.7
        assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs") / "certs"
    folders.for_kubernetes(folder)
    return folder


def test_a_custom_kustomization_changes_what_it_names() -> None:
    said = copy.deepcopy(OBJECTS["Kustomization"])
    # The page's folder is beside deploy/; the test's is elsewhere.
    assert said.pop("resources") == ["../deploy/kubernetes/base"]
    components = [path.removeprefix("../deploy/kubernetes/") for path in said.pop("components")]
    objects = kubernetes.built(components, **said)
    assert {each["metadata"]["namespace"] for each in objects} == {"dockercoins"}
    for name in SERVICES:
        assert pods(objects)[name].container["image"] == f"registry.example/coins/{name}:v1"
    settings = {"PACE": "full", "LOG_FORMAT": "json", "BATCH_SIZE": "256", "LOG_LEVEL": "warning"}
    assert pods(objects)["rng"].shared_variables == settings


def test_a_component_s_settings_win_over_one_s_own() -> None:
    own = {"name": "settings", "behavior": "merge", "literals": ["PACE=classic", "BATCH_SIZE=2"]}
    settings = pods(kubernetes.built(["components/full"], configMapGenerator=[own]))["rng"].shared_variables
    assert (settings["PACE"], settings["BATCH_SIZE"]) == ("full", "2")


def test_the_full_pace_requests_as_many_cores_as_the_page_says() -> None:
    cores = 0.0
    for pod in pods(render("full")).values():
        replicas = pod.workload["spec"].get("replicas", 1)
        cores += replicas * number(pod.container["resources"]["requests"]["cpu"])
    assert f"{cores:.1f} cores are requested" in PAGE


def test_all_overlays_and_components_are_described_and_tested() -> None:
    names = {path.name for folder in ("overlays", "components") for path in (kubernetes.FOLDER / folder).iterdir()}
    assert not [name for name in names if f"| `{name}` |" not in PAGE]
    assert names == {name for each in EVERY for name in each}


def test_the_versions_are_those_that_are_tested() -> None:
    assert f"from Kubernetes {FIRST} on" in PAGE
    assert f"from {FIRST} to {VERSIONS[-1]}" in " ".join(PAGE.split())
    [version] = re.findall(r"Client Version: v([0-9]+\.[0-9]+)", kubernetes.run("version", "--client"))
    assert f"kubectl {version}" in PAGE


def test_the_certificates_are_the_secrets_that_pods_want(certificates: Path) -> None:
    made: list[Any] = list(yaml.safe_load_all(kubernetes.run("kustomize", certificates)))
    assert {each["kind"] for each in made} == {"Secret"}
    assert {each["metadata"]["name"]: set(each["data"]) for each in made} == SECRETS
    assert not [name for name in SECRETS if f"`{name}`" not in PAGE]
