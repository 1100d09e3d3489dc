"""The profile `observability`: Prometheus beside the containers, which it finds by their names."""

import re
import secrets
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.compose_project import ComposeProject, Start, docker
from support.free_port import free_port
from support.prometheus_api import PrometheusApi

PROFILE = {"COMPOSE_PROFILES": "observability"}

STAND_IN = Path(__file__).parent / "prometheus.Dockerfile"

METRICS_PORTS = {"rng": 9101, "hasher": 9102, "worker": 9103, "webui": 9104}

SETTLING = 15.0
"""Seconds in which a replica that came is asked for its metrics: DNS and metrics are asked every five."""


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    """That of compose.yaml, or where it is not there and can't be pulled, one that has the same."""
    named = re.findall(r"PROMETHEUS_IMAGE:-([^}]+)}", Path(ComposeProject("dev").root, "compose.yaml").read_text())[0]
    try:
        docker("image", "inspect", named)
    except subprocess.CalledProcessError:
        try:
            docker("pull", "--quiet", named, limit=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            built = f"e2e-prometheus:{secrets.token_hex(4)}"
            docker("build", "--quiet", "--tag", built, "--file", str(STAND_IN), str(STAND_IN.parent), limit=600)
            yield built
            docker("image", "rm", "--force", built)
            return
    yield named


@pytest.fixture(scope="module")
def project(make_module_project: Start, image: str) -> ComposeProject:
    project = make_module_project(RNGS=2, PROMETHEUS_IMAGE=image, PROMETHEUS_PORT=free_port(), **PROFILE)
    project.up()
    return project


@pytest.fixture(scope="module")
def prometheus(project: ComposeProject) -> PrometheusApi:
    return PrometheusApi(int(str(project.settings["PROMETHEUS_PORT"])))


def replicas(project: ComposeProject) -> dict[str, str]:
    """Those that run of all services, by each of their addresses."""
    return {
        f"{service} {network['IPAddress']}:{port}": container["Name"]
        for service, port in METRICS_PORTS.items()
        for container in project.containers(service)
        if container["State"]["Running"]
        for network in container["NetworkSettings"]["Networks"].values()
    }


def all_found(project: ComposeProject, prometheus: PrometheusApi, count: int) -> bool:
    """Whether these replicas, so many, are asked for their metrics and answer, each once, and nobody else is."""
    known = replicas(project)
    assert len(set(known.values())) == count
    targets = prometheus.targets()
    return (
        set(targets.values()) == {"up"}
        and len(targets) == count
        and {known.get(target) for target in targets} == set(known.values())
    )


def test_every_replica_of_every_service_is_found(project: ComposeProject, prometheus: PrometheusApi) -> None:
    prometheus.until(lambda prometheus: all_found(project, prometheus, 5), SETTLING)
    ready = prometheus.query('dockercoins_ready{service="rng"} == 1')
    known = replicas(project)
    assert len({known[f"rng {series['metric']['instance']}"] for series in ready}) == 2


def test_who_comes_is_found_and_who_goes_is_forgotten(project: ComposeProject, prometheus: PrometheusApi) -> None:
    for rngs in (3, 1):
        project.settings["RNGS"] = rngs
        project.up()
        prometheus.until(partial(all_found, project, count=rngs + 3), SETTLING)
    assert "firing" not in prometheus.alerts().values()


def test_it_runs_the_rules(prometheus: PrometheusApi) -> None:
    prometheus.until(lambda prometheus: bool(prometheus.query("dockercoins:hashes:rate1m")), 2 * SETTLING)
    assert prometheus.value("dockercoins:hashes:rate1m") > 0


def test_it_is_confined(project: ComposeProject) -> None:
    (container,) = project.containers("prometheus")
    host: dict[str, Any] = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert {binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings} == {"127.0.0.1"}
    script = "id -u; touch /here /etc/prometheus/here 2>&1; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
    output = project.ask("exec", "--no-TTY", "prometheus", "sh", "-c", script)
    assert output.split()[0] == "65534"
    assert output.count("Read-only file system") == 2
    assert re.search(r"CapEff:\s+0+\n", output)
    assert re.search(r"NoNewPrivs:\s+1\n", output)


def test_it_ends_by_itself_when_it_is_stopped(project: ComposeProject) -> None:
    project.stop("prometheus")
    (container,) = project.containers("prometheus")
    assert container["State"]["ExitCode"] == 0
