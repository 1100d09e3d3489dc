import contextlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from support.compose_project import ComposeProject, Start, docker

SWARM_REDIS_NODE = "dockercoins.redis"
"""The label of the node that has Redis' volume."""


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Nothing here runs without a container engine; that is no failure on a machine of somebody's own."""
    reason = ""
    if shutil.which("docker") is None:
        reason = "there is no docker command"
    else:
        try:
            docker("info")
            docker("compose", "version")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            reason = f"no container engine with compose answers: {error}"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def tag(engine: None) -> Iterator[str]:
    """A tag under which this session has built all images from this checkout."""
    tag = f"e2e-{secrets.token_hex(4)}"
    project = ComposeProject(tag)
    try:
        project.ask("build", limit=600)
        yield tag
    finally:
        project.remove_images()


@contextlib.contextmanager
def _projects(tag: str) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:  # one that can't be removed keeps none of the others

        def make(**settings: Any) -> ComposeProject:
            project = ComposeProject(tag, **settings)
            stack.callback(project.down)
            return project

        yield make


@pytest.fixture
def make_project(tag: str) -> Iterator[Start]:
    with _projects(tag) as make:
        yield make


@pytest.fixture(scope="module")
def make_module_project(tag: str) -> Iterator[Start]:
    with _projects(tag) as make:
        yield make


@pytest.fixture(scope="session")
def classic(tag: str) -> Iterator[ComposeProject]:
    """One of each at the classic pace, for all tests that only look."""
    project = ComposeProject(tag)
    try:
        project.up()
        yield project
    finally:
        project.down()


@pytest.fixture(scope="module")
def swarm(engine: None) -> Iterator[None]:
    """A swarm of this engine, with a node for Redis; both only as long as this takes, if they were not there before."""
    made = json.loads(docker("info", "--format", "{{json .Swarm}}"))["LocalNodeState"] == "inactive"
    networks = docker("network", "ls", "--format", "{{.Name}}").split()
    if made:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    node = docker("node", "ls", "--quiet").split()[0]
    labelled = SWARM_REDIS_NODE in json.loads(docker("node", "inspect", node))[0]["Spec"]["Labels"]
    docker("node", "update", "--label-add", f"{SWARM_REDIS_NODE}=true", node)
    try:
        yield
    finally:
        if made:
            docker("swarm", "leave", "--force")
            if "docker_gwbridge" not in networks:
                docker("network", "rm", "docker_gwbridge")
        elif not labelled:
            docker("node", "update", "--label-rm", SWARM_REDIS_NODE, node)
