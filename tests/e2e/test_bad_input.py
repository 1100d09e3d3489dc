"""What cannot work says so in a line, and `up --wait` fails; what can heal does."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.compose_project import ComposeProject, Start, derive, docker


@dataclass
class Attempt:
    """An `up --wait` under way."""

    project: ComposeProject
    popen: "subprocess.Popen[str]"

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said."""
        output, _ = self.popen.communicate(timeout=110)
        return self.popen.returncode, output


def attempt(project: ComposeProject) -> Attempt:
    popen = subprocess.Popen(
        project.command("up", "--detach", "--wait"),
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Attempt(project, popen)


def with_quick_health(folder: Path, service: str, start_period: int) -> tuple[str, str]:
    """The files of a project in which a service that is not healthy is unhealthy in some seconds more than so many."""
    overlay = folder / "health.json"
    overlay.write_text(
        json.dumps({"services": {service: {"healthcheck": {"start_period": f"{start_period}s", "interval": "5s"}}}})
    )
    return ("compose.yaml", str(overlay))


@pytest.fixture(scope="module")
def without_rng(make_module_project: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempt]:
    """Takes half a minute to be unhealthy, meanwhile the other tests run."""
    files = with_quick_health(tmp_path_factory.mktemp("overlay"), "worker", 20)
    started = attempt(make_module_project(files=files, RNG_TARGET="dns:///late:50051"))
    yield started
    started.popen.kill()


def wait_until_exited(project: ComposeProject, service: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while True:
        found = project.containers(service)
        # Between two restarts it is "restarting".
        if [container["State"]["Status"] for container in found] == ["exited"]:
            return found
        assert time.monotonic() < deadline, f"{service} goes on: {found}"
        time.sleep(0.2)


def test_a_wrong_setting_is_one_line_and_does_not_loop(without_rng: Attempt, make_project: Start) -> None:
    project = make_project(PACE="slow")
    code, _ = attempt(project).end()
    assert code == 1
    for service in ("rng", "hasher", "webui"):
        (container,) = wait_until_exited(project, service)
        assert container["RestartCount"] == 3
        assert container["State"]["ExitCode"] == 2
        lines = project.logs(service).splitlines()
        assert lines == [f"{service}: PACE='slow' is not allowed: it must be classic or full"] * 4


def test_a_port_that_is_taken_is_named(without_rng: Attempt, make_project: Start) -> None:
    project = make_project()
    with socket.create_server(("127.0.0.1", project.page)):
        code, output = attempt(project).end()
    assert code == 1
    assert str(project.page) in output
    assert "address already in use" in output


@pytest.fixture
def other_tag(tag: str) -> Iterator[str]:
    """A tag of an rng that is slower, and of a hasher that listens on another port."""
    other = f"{tag}-other"
    lines = {"rng": "ENV DELAY=0.5", "hasher": "ENV PORT=50152"}
    for service, line in lines.items():
        derive(f"dockercoins-grpc/{service}:{tag}", f"dockercoins-grpc/{service}:{other}", line)
    yield other
    docker("image", "rm", "--force", *(f"dockercoins-grpc/{service}:{other}" for service in lines))


def test_an_image_on_another_port_is_unhealthy_and_one_with_a_setting_keeps_it(
    without_rng: Attempt, make_project: Start, other_tag: str, tmp_path: Path
) -> None:
    project = make_project(files=with_quick_health(tmp_path, "hasher", 6), TAG=other_tag, HASHER_DELAY="0.2")
    done = project.run("up", "--detach", "--wait", "--no-build", "rng", "hasher")
    (rng,), (hasher,) = project.containers("rng"), project.containers("hasher")
    assert (done.returncode, hasher["State"]["Health"]["Status"]) == (1, "unhealthy")
    assert hasher["State"]["Health"]["Log"][-1]["Output"].startswith("port 50151: ")
    assert "started" in project.logs("hasher")
    assert rng["State"]["Health"]["Status"] == "healthy"
    assert "DELAY=0.5" in rng["Config"]["Env"]
    assert "HASHER_DELAY=0.2" in hasher["Config"]["Env"]
    assert not [variable for variable in rng["Config"]["Env"] if "OTEL" in variable]


def test_a_target_that_cannot_be_resolved_is_warned_of_and_heals(without_rng: Attempt, tag: str) -> None:
    project = without_rng.project
    code, output = without_rng.end()
    assert code == 1
    assert "worker" in output.splitlines()[-1]
    log = project.logs("worker")
    warnings = re.findall(r"(\d\d):(\d\d):(\d\d) \[warning  \] no backend, still trying.*late:50051", log)
    seconds = [int(hours) * 3600 + int(minutes) * 60 + int(seconds) for hours, minutes, seconds in warnings]
    assert len(seconds) >= 3
    assert all(4 <= (later - earlier) % 86_400 <= 8 for earlier, later in pairwise(seconds[1:]))
    late = docker(
        *("run", "--detach", "--rm", "--network", f"{project.name}_back", "--network-alias", "late"),
        f"dockercoins-grpc/rng:{tag}",
    ).strip()
    try:
        project.wait_for_hashes(0, limit=15)
        (worker,) = project.containers("worker")
        assert worker["RestartCount"] == 0
    finally:
        docker("rm", "--force", late)
