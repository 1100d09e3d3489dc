import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from support.compose_project import ComposeProject, docker
from support.programs import skip_or_fail


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Tests here need a container engine; without one they fail in CI and are skipped elsewhere."""
    try:
        docker("info")
        docker("compose", "version")
    except (OSError, subprocess.SubprocessError) as error:
        skip_or_fail(f"no container engine with compose answers: {error}")


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
    project = ComposeProject(f"e2e-{testrun_uid[:8]}", files=("compose.yaml", "compose.tls.yaml"))
    with Path(f"{in_use.name}-build").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        if not os.fstat(in_use.fileno()).st_size:
            project.compose("--profile", "load-test", "build", limit=900)
            in_use.write("built")
            in_use.flush()
        fcntl.flock(in_use, fcntl.LOCK_SH)
    yield str(project.settings["TAG"])
    fcntl.flock(in_use, fcntl.LOCK_UN)
    with contextlib.suppress(BlockingIOError):  # another process still needs them
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        project.remove_images()
        in_use.truncate(0)


@pytest.fixture(scope="module")
def project(tag: str) -> Iterator[ComposeProject]:
    """A project with one of each at the classic pace. A file's tests change it, in their order."""
    with ComposeProject(tag).running() as project:
        yield project


@pytest.fixture(scope="session")
def swarm(tag: str, in_use: TextIO) -> Iterator[None]:
    """A swarm of this engine with a node for Redis, which ends with the run unless it was there before.

    An engine that leaves a swarm forgets the names in all networks, so that waits for the compose projects' end.
    """
    is_new = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
    if is_new:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    node = docker("node", "inspect", "self", "--format", "{{.ID}}").strip()
    docker("node", "update", "--label-add", "dockercoins.redis=true", node)
    yield
    if is_new:
        fcntl.flock(in_use, fcntl.LOCK_EX)
        docker("swarm", "leave", "--force")
