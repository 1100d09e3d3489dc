import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from playwright.async_api import Page
from support.chromium import chromium, opened_pages, skip_or_fail
from support.compose_project import ComposeProject, docker
from support.waiting import wait_until
from xdist.scheduler import LoadScopeScheduling

SHARED = {"test_compose", "test_discovery", "test_observability"}
"""Files whose tests share one project and run one after the other; all other files run beside each other."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute files to processes, those that share a project to one of them."""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _group
    return scheduler


def _group(test: str) -> str:
    file = test.split("::", maxsplit=1)[0]
    return "shared" if Path(file).stem in SHARED else file


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Tests here need a container engine; without one they fail in CI and are skipped elsewhere."""
    reason = ""
    if shutil.which("docker") is None:
        reason = "there is no docker command"
    else:
        try:
            docker("info")
            docker("compose", "version")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            reason = f"no container engine with compose answers: {error}"
    if reason:
        skip_or_fail(reason)


@pytest.fixture(scope="session")
def in_use(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextIO]:
    """A file of the run, empty until images are built. Each of pytest's processes locks it while it has containers."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (folder / "containers").open("a+") as in_use:
        yield in_use


@pytest.fixture(scope="session")
def tag(in_use: TextIO, testrun_uid: str) -> Iterator[str]:
    """A tag under which this run has built all images from this checkout, once for all of pytest's processes."""
    project = ComposeProject(f"e2e-{testrun_uid[:8]}")
    with Path(f"{in_use.name}-build").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        if not os.fstat(in_use.fileno()).st_size:
            project.ask("build", limit=900)
            in_use.write("built")
            in_use.flush()
        fcntl.flock(in_use, fcntl.LOCK_SH)
    yield str(project.settings["TAG"])
    fcntl.flock(in_use, fcntl.LOCK_UN)
    with contextlib.suppress(BlockingIOError):  # another process still needs them
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        project.remove_images()
        in_use.truncate(0)


@pytest.fixture(scope="session")
def shared(tag: str) -> Iterator[ComposeProject]:
    """The project that the tests in the files SHARED have one after the other."""
    project = ComposeProject(tag)
    try:
        yield project
    finally:
        project.down()


@pytest.fixture(scope="module")
def project(shared: ComposeProject) -> Iterator[ComposeProject]:
    """The shared project with one of each at the classic pace. A file's tests change it, in their order."""
    before = dict(shared.settings)
    shared.up()
    yield shared
    shared.settings = before
    shared.ask("stop", "--timeout", "1")


@pytest.fixture
async def page(project: ComposeProject) -> AsyncIterator[Page]:
    """The shared project's page, in Chromium."""
    async with chromium() as browser, opened_pages(browser) as open_page:
        yield await open_page(f"http://127.0.0.1:{project.page}/")


@pytest.fixture(scope="session")
def swarm(tag: str, in_use: TextIO) -> Iterator[None]:
    """A swarm of this engine with a node for Redis. What was not there before is removed at the end of the run.

    An engine that leaves a swarm forgets the names in all networks, so that waits for the compose projects' end.
    """
    with contextlib.ExitStack() as undo:
        if docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive":
            docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
            undo.callback(_leave_swarm)
        node = json.loads(docker("node", "inspect", "self"))[0]
        docker("node", "update", "--label-add", "dockercoins.redis=true", node["ID"])
        if "dockercoins.redis" not in node["Spec"]["Labels"]:
            undo.callback(docker, "node", "update", "--label-rm", "dockercoins.redis", node["ID"])
        yield
        fcntl.flock(in_use, fcntl.LOCK_EX)


def _leave_swarm() -> None:
    """Leave it, and remove a bridge that stays behind, with endpoints at first; one that stays longer fails no test."""
    docker("swarm", "leave", "--force")
    remove = ["docker", "network", "rm", "docker_gwbridge"]
    with contextlib.suppress(AssertionError):
        wait_until(lambda: subprocess.run(remove, capture_output=True, check=False).returncode == 0)
