"""What kustomize makes of deploy/kubernetes, by kubectl itself, and the pods of it."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support import programs
from support.compose_project import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"

# Which requirements/dev.txt brings.
KUBECTL = Path(sys.executable).parent / "kubectl"

# Overlays, and combinations of components over the base.
EVERY = (
    ("classic",),
    ("full",),
    ("tls",),
    ("observability",),
    ("full", "node-port"),
    ("full", "autoscaling", "rng-daemonset"),
    ("rng-daemonset", "tls"),
    ("full", "autoscaling", "observability", "autoscaling-worker", "rng-daemonset", "tls"),
)

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")

Object = dict[str, Any]


def run(*words: str | Path) -> str:
    """What kubectl prints. It uses no cluster."""
    done = programs.run(KUBECTL, *words, env=programs.environment(KUBECONFIG=os.devnull))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a warning, such as of a field that will go"
    return done.stdout


def built(components: Sequence[str], **more: Any) -> list[Object]:
    """The objects of a kustomization of somebody's own, in a folder beside the repository."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        base, *paths = (os.path.relpath(FOLDER / name, here) for name in ("base", *components))
        kustomization = {"resources": [base], "components": paths, **more}
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return list(yaml.load_all(run("kustomize", here), yaml.CSafeLoader))


@cache
def render(*names: str) -> Sequence[Object]:
    """The objects of an overlay, or of the base with these components; all callers get the same."""
    if len(names) == 1:
        return list(yaml.load_all(run("kustomize", FOLDER / "overlays" / names[0]), yaml.CSafeLoader))
    return built([f"components/{name}" for name in names])


def of_kind(objects: Iterable[Object], *kinds: str) -> Iterator[Object]:
    """Those that are of one of these kinds."""
    return (each for each in objects if each["kind"] in kinds)


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


class Pod:
    """Of one workload, with its one container."""

    def __init__(self, workload: Object, objects: Sequence[Object]) -> None:
        self.workload = workload
        self.objects = objects
        self.name: str = workload["metadata"]["name"]
        self.spec: Object = workload["spec"]["template"]["spec"]
        assert "initContainers" not in self.spec
        (self.container,) = self.spec["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        # Those that are set for it alone; its name as the cluster would make it.
        self.own_variables: dict[str, str] = {
            each["name"]: each.get("value", f"{self.name}-0") for each in self.container.get("env", [])
        }
        # Those of ConfigMaps, which must exist.
        self.shared_variables: dict[str, str] = {}
        for each in self.container.get("envFrom", []):
            self.shared_variables |= named(objects, "ConfigMap", each["configMapRef"]["name"])["data"]
        self.environment = self.shared_variables | self.own_variables


def pods(objects: Sequence[Object]) -> dict[str, Pod]:
    """One for each workload, by its name."""
    workloads = of_kind(objects, "Deployment", "StatefulSet", "DaemonSet")
    return {each["metadata"]["name"]: Pod(each, objects) for each in workloads}
