"""Two projects of one compose file on one machine."""

import re

import pytest
from support.compose_project import ComposeProject, Start, docker


@pytest.fixture(scope="module")
def blue_and_green(make_module_project: Start) -> tuple[ComposeProject, ComposeProject]:
    blue, green = make_module_project(RNGS=2, WORKERS=2), make_module_project(HASHERS=2)
    for project in (blue, green):
        project.up()
    for project in (blue, green):
        project.wait_for_hashes(10, limit=15)
    return blue, green


def test_each_finds_its_own_services_and_all_of_them(blue_and_green: tuple[ComposeProject, ComposeProject]) -> None:
    for project in blue_and_green:
        for service in ("rng", "hasher"):
            replicas = {container["Id"][:12] for container in project.containers(service)}
            for worker in project.containers("worker"):
                found = re.findall(rf"backends to={service} count=\d+ names=(.*) times=", docker("logs", worker["Id"]))
                assert set(found[-1].replace("'", "").split()) == replicas


def test_no_two_replicas_share_a_port(blue_and_green: tuple[ComposeProject, ComposeProject]) -> None:
    ports = [
        binding["HostPort"]
        for project in blue_and_green
        for service in ("rng", "hasher")
        for container in project.containers(service)
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    ]
    assert len(ports) == len(set(ports)) == 6
