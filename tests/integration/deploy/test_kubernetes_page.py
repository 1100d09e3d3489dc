"""What docs/kubernetes.md tells people to do."""

import copy
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from integration.deploy.test_kubernetes import FIRST, SECRETS, VERSIONS, flows
from support import kubernetes
from support.compose_project import ROOT
from support.kubernetes import pods, render

from deploy.tls import folders
from docs.configuration import SERVICES

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()

COMMANDS = re.findall(r"^    (kubectl .*)$", PAGE, re.MULTILINE)

OBJECTS: dict[str, Any] = {
    said["kind"]: said
    for said in map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
}
"""By their kinds, of which there is one each."""

NO_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": ""}}],
    "current-context": "none",
}
"""kubectl gets as far as connecting there when it has understood what it is to do."""


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
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(configuration), "HOME": str(tmp_path)}
    done = subprocess.run(
        [kubernetes.KUBECTL, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
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


def test_the_kustomization_of_ones_own_changes_what_it_says() -> None:
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
    policy = OBJECTS["NetworkPolicy"]
    for version in (VERSIONS[0], VERSIONS[-1]):
        kubernetes_validate.validate(policy, version, strict=True)
    assert list(flows(policy)) == ["worker|webui: to 192.0.2.10/32 6379/TCP"]


def test_all_overlays_and_components_are_described() -> None:
    overlays, components = (
        {path.name for path in (kubernetes.FOLDER / folder).iterdir()} for folder in ("overlays", "components")
    )
    assert overlays == set(kubernetes.OVERLAYS)
    assert not [name for name in overlays | components if f"| `{name}` |" not in PAGE]
    assert components <= {name for names in kubernetes.EVERY for name in names}, "each is tested"


def test_the_versions_are_those_that_are_tested() -> None:
    assert f"from Kubernetes {FIRST} on" in PAGE
    assert f"from {FIRST} to {VERSIONS[-1]}" in " ".join(PAGE.split())
    version = re.search(r"Client Version: v([0-9]+\.[0-9]+)", kubernetes.run("version", "--client"))
    assert version is not None
    assert f"kubectl {version[1]}" in PAGE


def test_the_certificates_are_the_secrets_that_pods_want(certificates: Path) -> None:
    made: list[Any] = list(yaml.safe_load_all(kubernetes.run("kustomize", certificates)))
    assert {each["kind"] for each in made} == {"Secret"}
    assert {each["metadata"]["name"]: set(each["data"]) for each in made} == SECRETS
    assert not [name for name in SECRETS if f"`{name}`" not in PAGE]
