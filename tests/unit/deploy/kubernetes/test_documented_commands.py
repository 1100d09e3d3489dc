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
from support.compose_project import ROOT
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.flows import ANYWHERE, Flow, allowed
from unit.deploy.kubernetes.pods import pods
from unit.deploy.kubernetes.policies.references import SECRETS
from unit.deploy.kubernetes.test_schemas import FIRST, VERSIONS

from deploy.tls import folders

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()

COMMANDS = re.findall(r"^    (kubectl .*)$", PAGE, re.MULTILINE)

FILES: dict[str, Any] = {
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
"""Nobody listens there: kubectl gets as far as that when it has understood what it is to do."""


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
    program = [str(rendered.kubectl()), *words]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or "127.0.0.1:1" in done.stderr, done.stderr


def test_a_command_that_there_is_not_is_found(certificates: Path, tmp_path: Path) -> None:
    for command in ("kubectl scale deployment worker --replica 10", "kubectl apply -k deploy/kubernetes/overlays/none"):
        with pytest.raises(AssertionError):
            test_kubectl_understands_every_command(command, certificates, tmp_path)


def test_every_workload_of_a_command_is_there() -> None:
    named = re.findall(r"\b(deployment|statefulset|service)[ /](\w+)", "\n".join(COMMANDS))
    there = {rendered.name_of(each) for each in rendered.render("observability")}
    assert named
    assert {f"{kind}/{name}" for kind, name in named} <= there
    labels = set(re.findall(r"--selector app=(\w+)", PAGE))
    assert labels <= {name.partition("/")[2] for name in there}


def test_every_image_that_is_loaded_is_one_that_pods_have() -> None:
    (command,) = re.findall(r"kind load docker-image (.*)$", PAGE, re.MULTILINE)
    images = {pod.container["image"] for pod in pods(rendered.render("classic"))}
    assert set(command.split()) == {image for image in images if image.startswith("dockercoins-grpc/")}


def test_the_kustomization_of_ones_own_changes_what_it_says() -> None:
    said = copy.deepcopy(FILES["Kustomization"])
    # The page's folder is beside deploy/; the test's is elsewhere.
    assert said.pop("resources") == ["../deploy/kubernetes/base"]
    components = [path.removeprefix("../deploy/kubernetes/") for path in said.pop("components")]
    objects: list[Any] = list(yaml.safe_load_all(rendered.built(components, **said)))
    assert {each["metadata"]["namespace"] for each in objects} == {"dockercoins"}
    rng = rendered.named(objects, "Deployment", "rng")["spec"]["template"]["spec"]["containers"][0]
    assert rng["image"] == "registry.example/coins/rng:v1"
    images = {each["name"]: each for each in said["images"]}
    assert set(images) == {f"dockercoins-grpc/{name}" for name in ("rng", "hasher", "worker", "webui")}
    (settings,) = (each["data"] for each in objects if each["metadata"]["name"].startswith("settings-"))
    assert settings == {"PACE": "full", "LOG_FORMAT": "json", "BATCH_SIZE": "256", "LOG_LEVEL": "warning"}


def test_the_policy_for_a_redis_elsewhere_lets_worker_and_webui_out_and_nobody_else() -> None:
    policy = FILES["NetworkPolicy"]
    for version in (VERSIONS[0], VERSIONS[-1]):
        kubernetes_validate.validate(policy, version, strict=True)
    objects = rendered.render("classic")
    more = allowed([*objects, policy]) - allowed(objects)
    assert more == {Flow(name, ANYWHERE, "6379/TCP") for name in ("worker", "webui")}


def test_all_overlays_and_components_are_told_of() -> None:
    for folder, known in (("overlays", rendered.OVERLAYS), ("components", None)):
        there = {path.name for path in (rendered.FOLDER / folder).iterdir()}
        assert not [name for name in there if f"| `{name}` |" not in PAGE]
        assert known is None or there == set(known)
    together = {name for names in rendered.EVERY for name in names}
    assert {path.name for path in (rendered.FOLDER / "components").iterdir()} <= together


def test_the_versions_are_those_that_were_looked_at() -> None:
    assert f"from Kubernetes {FIRST} on" in PAGE
    assert f"from {FIRST} to {VERSIONS[-1]}" in " ".join(PAGE.split())
    version = re.search(r"Client Version: v([0-9]+\.[0-9]+)", rendered.run("version", "--client"))
    assert version is not None
    assert f"kubectl {version[1]}" in PAGE


def test_the_certificates_are_the_secrets_that_pods_want(certificates: Path) -> None:
    made: list[Any] = list(yaml.safe_load_all(rendered.run("kustomize", certificates)))
    assert {each["kind"] for each in made} == {"Secret"}
    assert {each["metadata"]["name"]: set(each["data"]) for each in made} == SECRETS
    assert not [name for name in SECRETS if f"`{name}`" not in PAGE]
