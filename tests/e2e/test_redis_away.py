"""Redis restarts, dies and stays away, in the middle of the work at full pace."""

import re
import time

import pytest
from support.compose_project import ComposeProject, Start


@pytest.fixture(scope="module")
def project(make_module_project: Start) -> ComposeProject:
    project = make_module_project(PACE="full", WORKERS=2)
    project.up()
    project.wait_for_hashes(0, limit=10)
    return project


def restart(project: ComposeProject) -> None:
    project.ask("restart", "redis")


def kill(project: ComposeProject) -> None:
    project.ask("kill", "redis")
    time.sleep(1)
    project.ask("start", "redis")


@pytest.mark.parametrize("trouble", [restart, kill])
def test_every_hash_is_counted_once(project: ComposeProject, trouble: object) -> None:
    assert callable(trouble)
    time.sleep(2)
    trouble(project)
    project.up("--no-deps", "redis")  # until it is healthy again
    project.wait_for_hashes(project.hashes(), limit=10)
    took = project.stop("worker", "rng", "hasher", "webui")
    assert set(project.exit_codes().values()) == {0}
    assert took < 3.5
    assert project.hashes() == project.hashes_logged()
    project.up()


def warnings(project: ComposeProject) -> list[str]:
    return [line for line in project.logs("worker").splitlines() if "redis is away" in line]


def test_a_missing_redis_is_warned_of_now_and_then_and_heals(project: ComposeProject) -> None:
    before = {container["Id"]: container["RestartCount"] for container in project.containers()}
    project.ask("stop", "redis")
    said_before = len(warnings(project))
    time.sleep(12)
    said = warnings(project)[said_before:]
    project.ask("start", "redis")
    project.wait_for_hashes(project.hashes(), limit=15)
    assert 4 <= len(said) <= 6, "one every five seconds from each of two workers"
    assert re.search(r"cause=", said[-1])
    assert {container["Id"]: container["RestartCount"] for container in project.containers()} == before


def test_all_stop_in_time_at_full_pace(project: ComposeProject) -> None:
    took = project.stop()
    assert set(project.exit_codes().values()) == {0}
    assert took < 3.5
