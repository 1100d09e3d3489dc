import contextlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.compose_project import ComposeProject, Start, docker

SWARM_REDIS_NODE = "dockercoins.redis"
"""The label of the node that has Redis' volume."""

SWARM_BRIDGE = "docker_gwbridge"
"""The network by which tasks reach what is outside."""

BRIDGE_FREE = 30.0
"""Seconds within which the last endpoint is gone from it, after the swarm is left."""


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
    with contextlib.ExitStack() as undo:
        if not _in_swarm():
            if not _there_is(SWARM_BRIDGE):
                undo.callback(_remove_bridge)
            undo.callback(_leave_swarm)
            docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
        node = json.loads(docker("node", "inspect", "self"))[0]
        docker("node", "update", "--label-add", f"{SWARM_REDIS_NODE}=true", node["ID"])
        if SWARM_REDIS_NODE not in node["Spec"]["Labels"]:
            undo.callback(docker, "node", "update", "--label-rm", SWARM_REDIS_NODE, node["ID"])
        yield


def _in_swarm() -> bool:
    return docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() != "inactive"


def _leave_swarm() -> None:
    if _in_swarm():  # not where `init` failed
        docker("swarm", "leave", "--force")


def _there_is(network: str) -> bool:
    return network in docker("network", "ls", "--format", "{{.Name}}").split()


def _remove_bridge() -> None:
    """Swarm leaves it behind, for some time with endpoints; whatever keeps it for longer fails no test."""
    deadline = time.monotonic() + BRIDGE_FREE
    while _there_is(SWARM_BRIDGE) and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.CalledProcessError):
            docker("network", "rm", SWARM_BRIDGE)
            return
        time.sleep(0.5)
