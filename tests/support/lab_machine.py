"""What labs are done on: a laptop, Docker, a swarm or a cluster, each with a folder of the repository's files."""

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from support import programs
from support.cluster import Cluster
from support.compose_project import ROOT, ComposeProject, docker
from support.fast_folder import fast_folder
from support.free_port import free_port
from support.lab_script import LAPTOP
from support.lab_terminal import Terminal, network_of_its_own
from support.waiting import wait_until

# What a student's folder has beside the files of the repository; data/ and other files that a lab makes are not there.
MADE = (".venv", "generated")

# The name of the stack in the labs.
STACK = "coins"

OpenTerminal = Callable[[], Terminal]


@contextmanager
def lock(name: str, *, alone: bool) -> Iterator[None]:
    """Have something of this machine alone, or beside other labs."""
    with (Path(tempfile.gettempdir()) / f"dockercoins-{name}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def laptop(text: str) -> Iterator[OpenTerminal]:
    """Where it can be, in a network of its own, so that the ports are those of the text, and labs run side by side."""
    if "$ prometheus " in text:
        programs.find_program("prometheus", "prometheus")
    at_full_pace = "load-test" in text
    # The socket of a run must have a short path, and its Redis waits for the disk.
    with network_of_its_own() as network, fast_folder() as home:
        folder = home / "dockercoins-grpc"
        folder.mkdir()
        for given in {*MADE, *(file.partition("/")[0] for file in _files())}:
            (folder / given).symlink_to(ROOT / given)
        environment = programs.environment(XDG_RUNTIME_DIR=home, LANG="C.UTF-8", HOME=home)
        with lock("labs", alone=at_full_pace or network is None):
            yield lambda: Terminal([*(network or ()), "bash"], folder, environment)


@contextmanager
def engine(text: str) -> Iterator[OpenTerminal]:
    """Docker, for projects under the names in the text, on free ports instead of those of compose.yaml."""
    _need_engine()
    names = sorted(set(re.findall(r"COMPOSE_PROJECT_NAME=([\w-]+)", text)))
    with ExitStack() as stack:
        stack.enter_context(lock("labs", alone=False))
        # An engine that leaves a swarm forgets the names in all networks.
        stack.enter_context(lock("labs-engine", alone=False))
        # Another checkout may do the same lab.
        for name in names:
            stack.enter_context(lock(name, alone=True))
        folder = stack.enter_context(_copy())
        project = ComposeProject("dev", folder)
        try:
            yield lambda: Terminal(
                ["bash"],
                folder,
                programs.environment(
                    **project.settings, COMPOSE_DISABLE_ENV_FILE=1, COMPOSE_FILE="compose.yaml:tests/e2e/ports.yaml"
                ),
            )
        finally:
            for project.name in names:
                project.down()


@contextmanager
def swarm(_text: str) -> Iterator[OpenTerminal]:
    """A swarm of this engine, with all that the labs' README names; it ends with the lab if it did not exist before."""
    _need_engine()
    with lock("labs", alone=False), lock("labs-engine", alone=True), _copy() as folder, ExitStack() as stack:
        if docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive":
            docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
            stack.callback(docker, "swarm", "leave", "--force")
        if docker("volume", "ls", "--quiet", "--filter", f"name={STACK}_redis"):
            programs.skip_or_fail(f"there is a volume {STACK}_redis of a stack")
        node = docker("node", "inspect", "self", "--format", "{{.ID}}").strip()
        docker("node", "update", "--label-add", "dockercoins.redis=true", node)
        password = folder / "password"
        password.write_text(secrets.token_hex(24))
        names = {f"{user.upper()}_SECRET": f"lab-{secrets.token_hex(4)}-{user}" for user in ("worker", "webui")}
        for name in names.values():
            docker("secret", "create", name, str(password))
            stack.callback(docker, "secret", "rm", name)
        docker("compose", "build", settings={"TAG": "dev"}, limit=900)
        environment = programs.environment(WEBUI_PORT=free_port(), **names)
        stack.callback(_remove_stack)
        yield lambda: Terminal(["bash"], folder, environment)


@contextmanager
def cluster(_text: str) -> Iterator[OpenTerminal]:
    """A namespace of the cluster that the variable CONTEXT names, whose nodes have the images."""
    context = os.environ.get("CONTEXT")
    if not context:
        pytest.skip("CONTEXT=… names a cluster of kubectl, whose nodes have the images")
    # Pods of another lab that start take the CPU, and a lab's numbers are times.
    alone = lock("labs-cluster", alone=True)
    with lock("labs", alone=False), alone, _copy() as folder, tempfile.TemporaryDirectory() as name:
        made = Cluster(Path(name), context, f"lab-{secrets.token_hex(4)}")
        with made.running():
            yield lambda: Terminal(["bash"], folder, {**made.environment(), "WEBUI_PORT": str(free_port())})


MACHINES: Mapping[str, Callable[[str], AbstractContextManager[OpenTerminal]]] = {
    LAPTOP: laptop,
    "docker": engine,
    "swarm": swarm,
    "kubernetes": cluster,
}


def _remove_stack() -> None:
    # It fails while the lab's own removal of the networks is under way.
    programs.run("docker", "stack", "rm", STACK)
    label = f"label=com.docker.stack.namespace={STACK}"
    wait_until(
        lambda: not docker("ps", "--quiet", "--filter", label) + docker("network", "ls", "-q", "--filter", label)
    )
    programs.run("docker", "volume", "rm", f"{STACK}_redis")


def _need_engine() -> None:
    try:
        docker("info")
        docker("compose", "version")
    except (OSError, subprocess.SubprocessError) as error:
        programs.skip_or_fail(f"no container engine with compose answers: {error}")


def _files() -> list[str]:
    return subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()


@contextmanager
def _copy() -> Iterator[Path]:
    """Make a folder with copies of the files, since an image gets no files through links."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        folder = Path(name)
        for file in _files():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
        for made in MADE:
            (folder / made).symlink_to(ROOT / made)
        yield folder
