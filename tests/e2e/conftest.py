import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from support.compose_project import ComposeProject, Start, docker


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
