import json
import re
import secrets
import shutil
from pathlib import Path

import pytest
from support.compose_project import ROOT, docker, run

BASE = "python:3.13-slim"
# Over the base image.
SIZES_MB = {"rng": 75, "hasher": 75, "worker": 75, "webui": 90, "load-test": 90}

PACKAGES = {
    "rng": ["chassis", "dockercoins", "rng_svc"],
    "hasher": ["chassis", "dockercoins", "hasher_svc"],
    "worker": ["chassis", "dockercoins", "worker_svc"],
    "webui": ["chassis", "webui_svc"],
    "load-test": ["chassis", "dockercoins", "hasher_svc", "load_test", "rich", "rng_svc", "worker_svc"],
}
SITE = "/app/lib/python3.13/site-packages"

services = pytest.mark.parametrize("service", sorted(SIZES_MB))


def image(service: str, tag: str) -> str:
    return f"dockercoins-grpc/{service}:{tag}"


def package(service: str) -> str:
    return "load_test" if service == "load-test" else f"{service}_svc"


@services
def test_an_image_is_little_more_than_its_base_and_has_its_labels(service: str, tag: str) -> None:
    built, base = json.loads(docker("image", "inspect", image(service, tag), BASE))
    assert built["Size"] - base["Size"] <= SIZES_MB[service] * 1_000_000
    layers = built["RootFS"]["Layers"][len(base["RootFS"]["Layers"]) :]
    assert len(layers) == 3, "the user, what the service imports, and the service"
    config = built["Config"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == (service, tag, "Apache-2.0")
    assert labels["description"]
    assert config["User"] == "10001:10001"
    command = (config.get("Entrypoint"), config.get("Cmd"))
    starts = ["python", "-m", package(service)]
    assert command == ((starts, None) if service == "load-test" else (None, starts))


@services
def test_an_image_holds_its_service_compiled_and_nothing_that_builds_or_can_be_changed(service: str, tag: str) -> None:
    scripts = {
        "user": "id -un",
        "packages": f"ls {SITE} | grep -E '_svc$|^(chassis|dockercoins|load_test|rich)$'",
        "chart": f"ls {SITE}/webui_svc/static/vendor/uplot",
        "tools": "for tool in cc gcc make git node npm uv protoc; do command -v $tool; done",
        "left": f"cd {SITE} && ls -d pip grpc_tools hatchling pytest /wheel /source /tools /project /requirements.txt",
        "changeable": "find /app ! -user root; find /app -type f -perm /022",
        "modules": f"find {SITE} -name '*.py' | wc -l",
        "compiled": f"find {SITE} -name '*.pyc' | wc -l",
    }
    script = "".join(f"echo '# {name}'; ({script}) 2>/dev/null; " for name, script in scripts.items())
    output = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", image(service, tag), "-c", script)
    sections = (section.partition("\n") for section in output.split("# ")[1:])
    found = {name: text.split() for name, _, text in sections}
    assert found.pop("modules") == found.pop("compiled") != ["0"]
    assert found == {
        "user": ["dockercoins"],
        "packages": PACKAGES[service],
        "chart": ["uPlot.LICENSE.txt", "uPlot.esm.js", "uPlot.min.css"] if service == "webui" else [],
        "tools": [],
        "left": [],
        "changeable": [],
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what images are built from."""
    for name in (".dockerignore", "LICENSE", "README.md", "pyproject.toml", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("protos", "requirements", "chassis", *map(package, SIZES_MB)):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def build(*words: str) -> str:
    """Return what a build says of its steps."""
    done = run("docker", "build", "--progress", "plain", "--output", "type=cacheonly", *words, limit=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


@services
def test_changed_source_is_built_from_what_its_service_imports_and_no_others_build(
    service: str, tag: str, checkout: Path
) -> None:
    """The steps that take long, which install, are cached."""
    with (checkout / package(service) / "__init__.py").open("a") as file:
        file.write(f"# changed: {secrets.token_hex()}\n")
    other = "hasher" if service == "rng" else "rng"
    for name in (service, other):
        said = build("--file", str(checkout / package(name) / "Dockerfile"), str(checkout))
        installs = re.findall(r"^#(\d+) \[build +\d+/\d+\] RUN .*(?:--require-hashes|apt-get)", said, re.MULTILINE)
        assert len(installs) >= 2
        assert all(re.search(rf"^#{step} CACHED$", said, re.MULTILINE) for step in installs)
        [wheel] = set(re.findall(r"^#(\d+) \[build +\d+/\d+\] RUN .* -m hatchling build", said, re.MULTILINE))
        assert bool(re.search(rf"^#{wheel} CACHED$", said, re.MULTILINE)) is (name != service)


def test_the_build_context_is_small(tmp_path: Path) -> None:
    """The checkout as it is, with its virtual environment, its repository and what was mined in it."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {BASE}\nCOPY . /context\nRUN du --bytes --summarize /context && ls -A /context\n")
    said = build("--no-cache", "--file", str(dockerfile), str(ROOT))
    size = re.search(r"(\d+)\s+/context$", said, re.MULTILINE)
    assert size is not None
    assert int(size[1]) < 1_200_000
    assert not re.search(r" (\.git|\.venv|data|tests)$", said, re.MULTILINE)
