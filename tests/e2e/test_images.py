"""The images as they are built: small, confined, and of one service each."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.compose_project import ROOT, docker

BASE = "python:3.13-slim"
MEGABYTE = 1_000_000
SIZES = {"rng": 75, "hasher": 75, "worker": 75, "webui": 90}
"""Megabytes over the base image."""

PACKAGES = {
    "rng": {"chassis", "dockercoins", "rng_svc"},
    "hasher": {"chassis", "dockercoins", "hasher_svc"},
    "worker": {"chassis", "dockercoins", "worker_svc"},
    "webui": {"chassis", "webui_svc"},
}
SITE = "/app/lib/python3.13/site-packages"

services = pytest.mark.parametrize("service", sorted(SIZES))


def image(service: str, tag: str) -> str:
    return f"dockercoins-grpc/{service}:{tag}"


def inspect(name: str) -> Any:
    return json.loads(docker("image", "inspect", name))[0]


def inside(service: str, tag: str, script: str) -> str:
    """The output of a shell script in a fresh container."""
    return docker("run", "--rm", "--network", "none", "--entrypoint", "sh", image(service, tag), "-c", script)


@services
def test_an_image_is_little_more_than_its_base(service: str, tag: str) -> None:
    over = inspect(image(service, tag))["Size"] - inspect(BASE)["Size"]
    assert over <= SIZES[service] * MEGABYTE


@services
def test_an_image_says_what_it_is(service: str, tag: str) -> None:
    config = inspect(image(service, tag))["Config"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == service
    assert labels["version"] == tag
    assert labels["licenses"] == "Apache-2.0"
    assert labels["description"]


@services
def test_an_image_runs_its_service_as_an_unprivileged_user(service: str, tag: str) -> None:
    config = inspect(image(service, tag))["Config"]
    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["python", "-m", f"{service}_svc"]
    assert not config.get("Entrypoint")
    assert inside(service, tag, "id -u; id -un").split() == ["10001", "dockercoins"]


@services
def test_an_image_holds_its_own_service_only(service: str, tag: str) -> None:
    ours = {package for packages in PACKAGES.values() for package in packages}
    assert set(inside(service, tag, f"ls {SITE}").split()) & ours == PACKAGES[service]


@services
def test_an_image_holds_nothing_that_builds(service: str, tag: str) -> None:
    unwanted = "cc gcc make git node npm uv protoc"
    assert not inside(service, tag, f"for tool in {unwanted}; do command -v $tool; done; true")
    assert not inside(
        service, tag, f"ls -d {SITE}/pip {SITE}/grpc_tools {SITE}/hatchling {SITE}/pytest 2>/dev/null; true"
    )
    assert not inside(service, tag, "ls -d /wheel /source /tools /project /requirements.txt 2>/dev/null; true")
    home = inspect(image(service, tag))["RootFS"]["Layers"][len(inspect(BASE)["RootFS"]["Layers"]) :]
    assert len(home) == 3, "the user, what the service imports, and the service"


@services
def test_an_image_holds_bytecode_for_every_module(service: str, tag: str) -> None:
    counted = inside(service, tag, f"find {SITE} -name '*.py' | wc -l; find {SITE} -name '*.pyc' | wc -l")
    modules, compiled = map(int, counted.split())
    assert compiled == modules


@services
def test_nothing_in_an_image_belongs_to_who_runs_it(service: str, tag: str) -> None:
    assert not inside(service, tag, "find /app ! -user root; find /app -type f -perm /022")


def test_the_page_has_its_chart_library(tag: str) -> None:
    found = inside("webui", tag, f"ls {SITE}/webui_svc/static/vendor/uplot").split()
    assert found == ["LICENSE", "uPlot.esm.js", "uPlot.min.css"]


def test_hashers_image_hashes_by_its_kernel(tag: str) -> None:
    assert re.search(
        r"\bhashing +by=kernel\b", inside("hasher", tag, "timeout --preserve-status 3 python -m hasher_svc")
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what images are built from."""
    for name in (".dockerignore", "LICENSE", "README.md", "pyproject.toml", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("protos", "requirements", "chassis", *(f"{service}_svc" for service in SIZES)):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    return tmp_path


def build(checkout: Path, service: str) -> str:
    """The id of the image that is built from there."""
    dockerfile = checkout / f"{service}_svc/Dockerfile"
    # An attestation holds the time of the build, and makes another image of the same content.
    return docker("build", "--quiet", "--provenance=false", "--file", str(dockerfile), str(checkout), limit=300).strip()


@services
def test_changed_source_is_built_in_less_than_five_seconds(service: str, tag: str, checkout: Path) -> None:
    before = build(checkout, service)
    with (checkout / f"{service}_svc/__init__.py").open("a") as file:
        file.write("# changed\n")
    began = time.monotonic()
    after = build(checkout, service)
    took = time.monotonic() - began
    docker("image", "rm", before, after)
    assert before != after
    assert took < 5


def test_another_services_source_changes_nothing(tag: str, checkout: Path) -> None:
    before = build(checkout, "rng")
    for service in ("hasher", "worker", "webui"):
        with (checkout / f"{service}_svc/__init__.py").open("a") as file:
            file.write("# changed\n")
    with (checkout / "protos/dockercoins/hasher/v1/hasher_service.proto").open("a") as file:
        file.write("// changed\n")
    after = build(checkout, "rng")
    docker("image", "rm", before)
    assert before == after


def test_the_build_context_is_small(tag: str, tmp_path: Path) -> None:
    """The checkout as it is, with its virtual environment, its repository and what was mined in it."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {BASE}\nCOPY . /context\nRUN du --bytes --summarize /context && ls -A /context\n")
    command = [
        "docker",
        "build",
        "--no-cache",
        "--output",
        "type=cacheonly",
        "--progress",
        "plain",
        "--file",
        str(dockerfile),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    size = re.search(r"(\d+)\s+/context$", done.stderr, re.MULTILINE)
    assert size is not None
    assert int(size[1]) < 1_000_000
    assert not re.search(r" (\.git|\.venv|data|tests)$", done.stderr, re.MULTILINE)
