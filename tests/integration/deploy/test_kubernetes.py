"""What must hold for the objects of all overlays and components, and what docs/kubernetes.md tells people to do."""

import copy
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
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
from support.programs import environment, run
from support.served import HASHER, RNG

from chassis.process import STOP_LIMIT_S
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


def test_pods_keep_to_the_restricted_profile(objects: Sequence[Object]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and what we add."""
    for name, pod in pods(objects).items():
        context = {key: value for key, value in pod.spec["securityContext"].items() if not key.startswith("fsGroup")}
        user = context["runAsUser"]
        assert context == {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert user > 0
        if name in SERVICES:
            dockerfile = (ROOT / f"{name}_svc" / "Dockerfile").read_text()
            assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE)[-1] == f"{user}:{user}"
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        kinds = {kind for volume in pod.spec.get("volumes", []) for kind in volume.keys() - {"name"}}
        assert kinds <= {"configMap", "emptyDir", "projected"}
        assert all(port.keys() == {"name", "containerPort"} for port in pod.container["ports"])
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False, "their variables are not settings"
        assert pod.container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert pod.container["resources"]["limits"].keys() == {"memory"}


def test_probes_request_existing_services_and_one_uses_the_address_of_clients(objects: Sequence[Object]) -> None:
    alive, ready = ({"httpGet": {"path": path, "port": "metrics"}} for path in ("/healthz", "/readyz"))
    for pod in ours(objects):
        expected: list[Object] = [alive, alive, ready]
        if pod.name in {"rng", "hasher"} and "TLS_CERT" not in pod.environment:
            service = {"rng": RNG, "hasher": HASHER}[pod.name]
            expected = [{"grpc": {"port": pod.ports["grpc"], "service": each}} for each in ("", "", service)]
        elif pod.name != "worker":  # Kubernetes can't encrypt its gRPC probes
            expected[0] = {"tcpSocket": {"port": "http" if pod.name == "webui" else "grpc"}}
        assert expected == [
            {key: value for key, value in pod.container[probe].items() if not key.endswith(("Seconds", "Threshold"))}
            for probe in PROBES
        ]


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


def files(pod: Pod) -> Iterator[str]:
    """Those that are mounted; every volume is mounted, and every mount has a volume."""
    claims = {each["metadata"]["name"] for each in pod.workload["spec"].get("volumeClaimTemplates", [])}
    volumes = {each["name"]: each for each in pod.spec.get("volumes", [])}
    mounts = {each["name"]: each["mountPath"] for each in pod.container.get("volumeMounts", [])}
    assert mounts.keys() == volumes.keys() | claims
    for name, volume in volumes.items():
        secrets = volume.get("projected", {}).get("sources", [])
        keys = {key for each in secrets for key in SECRETS[each["secret"]["name"]]}
        if "configMap" in volume:
            keys |= named(pod.objects, "ConfigMap", volume["configMap"]["name"])["data"].keys()
        yield from (f"{mounts[name]}/{key}" for key in keys)


def test_every_file_that_is_named_is_there(objects: Sequence[Object]) -> None:
    for pod in pods(objects).values():
        said = [*pod.environment.values(), *pod.container.get("args", [])]
        said += [word for name in PROBES for word in pod.container[name].get("exec", {}).get("command", [])]
        paths = {word.rpartition("=")[2] for word in said}
        assert {path for path in paths if path.startswith(("/run/", "/etc/"))} <= set(files(pod))


def test_everything_that_selects_selects_its_pods(objects: Sequence[Object]) -> None:
    """All by `app`: workloads, Services, budgets and who is to be on different nodes."""
    found = pods(objects)
    for pod in found.values():
        labels = pod.workload["spec"]["template"]["metadata"]["labels"]
        assert labels.items() >= {"app": pod.name, "app.kubernetes.io/part-of": "dockercoins"}.items()
        assert pod.workload["spec"]["selector"] == {"matchLabels": {"app": pod.name}}
    for pod in ours(objects):
        if pod.workload["kind"] == "Deployment":
            (spread,) = pod.spec["topologySpreadConstraints"]
            assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
            assert spread["labelSelector"] == {"matchLabels": {"app": pod.name}}
    for each in of_kind(objects, "PodDisruptionBudget"):
        assert each["spec"]["selector"] == {"matchLabels": {"app": each["metadata"]["name"]}}
    for each in of_kind(objects, "Service"):
        name, spec = each["metadata"]["name"], each["spec"]
        assert spec["selector"] == {"app": name}
        assert spec["clusterIP"] == "None", "a name leads to the pods themselves: those that are ready, and all workers"
        assert spec.get("publishNotReadyAddresses", False) == (name == "worker")
        for port in spec["ports"]:
            assert (found[name].ports[port["targetPort"]], port["targetPort"]) == (port["port"], port["name"])
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        assert named(objects, target["kind"], target["name"])
    assert named(objects, "Service", named(objects, "StatefulSet", "redis")["spec"]["serviceName"])


def test_pods_have_the_time_to_stop_and_others_come_first(objects: Sequence[Object]) -> None:
    for pod in ours(objects):
        waits = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod.spec["terminationGracePeriodSeconds"] >= waits + STOP_LIMIT_S
        if pod.name in {"rng", "hasher"}:
            assert waits >= DNS_TTL_S + LOOKUP_INTERVAL_S
        spec = pod.workload["spec"]
        strategy = spec.get("strategy", spec.get("updateStrategy"))
        assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert pods(objects)["redis"].container["lifecycle"]["preStop"]["sleep"]["seconds"] == 10, (
        "for workers' last reports"
    )


def test_no_budget_keeps_a_node_from_being_drained(objects: Sequence[Object]) -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "PodDisruptionBudget")}
    counted = {pod.name for pod in pods(objects).values() if pod.workload["kind"] != "DaemonSet"}
    assert budgets.keys() == counted - {"prometheus"}
    for spec in budgets.values():
        assert (spec["maxUnavailable"], spec.get("minAvailable")) == (1, None)


# What policies let through: at both ends, or at one where the other is none of ours.
INSIDE = {"worker > rng 50051/TCP", "worker > hasher 50151/TCP", "worker|webui > redis 6379/TCP"}
OUTSIDE = {"anybody > webui 8000/TCP", "all > anybody 53/TCP", "all > anybody 53/UDP"}
SCRAPED = {f"prometheus > {name} {port}/TCP" for name, port in zip(SERVICES, (9101, 9102, 9103, 9104), strict=True)}
ADAPTED = {"prometheus-adapter in any namespace > prometheus 9090/TCP"}


def flows(policy: Object) -> Iterator[str]:
    spec = policy["spec"]
    assert spec.keys() <= {"podSelector", "policyTypes", "ingress", "egress"}
    for direction, side in (("Ingress", "from"), ("Egress", "to")):
        assert direction in spec["policyTypes"] or direction.lower() not in spec
        for rule in spec.get(direction.lower(), []):
            peers = [peer_name(peer) for peer in rule.get(side, [])] or ["anybody"]
            ports = [f"{port['port']}/{port.get('protocol', 'TCP')}" for port in rule.get("ports", [])] or ["any port"]
            for peer, port in product(peers, ports):
                ends = (peer, whom(spec["podSelector"]))
                yield f"{' > '.join(ends if side == 'from' else reversed(ends))} {port}"


def whom(selector: Object) -> str:
    """The pods of ours that are selected."""
    labels = dict(selector["matchLabels"])
    assert labels.pop("app.kubernetes.io/part-of") == "dockercoins"
    for expression in selector.get("matchExpressions", []):
        assert (expression["key"], expression["operator"]) == ("app", "In")
        labels["app"] = "|".join(expression["values"])
    return str(labels.pop("app", "all"))


def peer_name(peer: Object) -> str:
    if "namespaceSelector" in peer:
        assert peer["namespaceSelector"] == {}
        return f"{peer['podSelector']['matchLabels']['app.kubernetes.io/name']} in any namespace"
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    assert peer.keys() == {"podSelector"}
    return whom(peer["podSelector"])


@pytest.mark.parametrize("names", EVERY, ids="+".join)
def test_the_flows_of_the_design_are_let_through_and_no_others(names: tuple[str, ...]) -> None:
    policies = list(of_kind(render(*names), "NetworkPolicy"))
    (nothing,) = (each["spec"] for each in policies if each["spec"].keys() == {"podSelector", "policyTypes"})
    assert (whom(nothing["podSelector"]), nothing["policyTypes"]) == ("all", ["Ingress", "Egress"])
    inside = INSIDE | (SCRAPED if "observability" in names else set())
    outside = OUTSIDE | (ADAPTED if "autoscaling-worker" in names else set())
    assert sorted(flow for each in policies for flow in flows(each)) == sorted([*inside, *inside, *outside])


def test_a_number_that_was_scaled_to_survives_applying_again() -> None:
    scaled = {
        ("classic",): list(SERVICES),
        ("full", "autoscaling"): ["rng", "hasher"],
        ("observability", "autoscaling-worker"): ["worker"],
    }
    for names, deployments in scaled.items():
        assert not [each for each in deployments if "replicas" in named(render(*names), "Deployment", each)["spec"]]
    full = [named(render("full"), "Deployment", each)["spec"]["replicas"] for each in ("rng", "hasher", "worker")]
    assert full == [2, 2, 2]


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


COMMANDS = re.findall(r"^    (kubectl .*)$", PAGE, re.MULTILINE)

# kubectl gets as far as connecting there when it has understood what it is to do.
NO_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": ""}}],
    "current-context": "none",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs") / "certs"
    folders.for_kubernetes(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_kubectl_understands_every_command(command: str, certificates: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "config"
    configuration.write_text(yaml.safe_dump(NO_CLUSTER))
    words = [str(certificates) if word == "certs" else word for word in shlex.split(command)[1:]]
    variables = environment(KUBECONFIG=configuration, HOME=tmp_path)
    done = run(kubernetes.KUBECTL, *words, cwd=ROOT, env=variables)
    assert done.returncode == 0 or "127.0.0.1:1" in done.stderr, done.stderr


def test_every_workload_and_image_of_a_command_is_there() -> None:
    objects = render("observability")
    there = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects}
    workloads = re.findall(r"\b(deployment|statefulset|service)[ /](\w+)", "\n".join(COMMANDS))
    assert workloads
    assert {f"{kind}/{name}" for kind, name in workloads} <= there
    assert set(re.findall(r"--selector app=(\w+)", PAGE)) <= pods(objects).keys()
    (command,) = re.findall(r"kind load docker-image (.*)$", PAGE, re.MULTILINE)
    images = {pod.container["image"] for pod in pods(objects).values()}
    assert set(command.split()) == {image for image in images if image.startswith("dockercoins-grpc/")}


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


def test_the_policy_for_a_redis_elsewhere_lets_worker_and_webui_out_and_no_others() -> None:
    assert list(flows(OBJECTS["NetworkPolicy"])) == ["worker|webui > 192.0.2.10/32 6379/TCP"]


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
