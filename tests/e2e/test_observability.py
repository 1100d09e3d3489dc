"""The profile `observability`: Prometheus beside the containers, which it finds by their names."""

import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compose_project import ROOT, ComposeProject, docker
from support.free_port import free_port
from support.prometheus_api import PrometheusApi
from support.waiting import wait_until

STAND_IN = Path(__file__).parent / "prometheus.Dockerfile"

METRICS_PORTS = {"rng": 9101, "hasher": 9102, "worker": 9103, "webui": 9104}

LIMIT_S = 60.0
"""In which Prometheus sees what changed; it looks for replicas and reads their metrics every five seconds."""


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    """The image of compose.yaml, or where it is not there and can't be pulled, a stand-in."""
    named = re.findall(r"PROMETHEUS_IMAGE:-([^}]+)}", (ROOT / "compose.yaml").read_text())[0]
    for words in (("image", "inspect", named), ("pull", "--quiet", named)):
        try:
            docker(*words, limit=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            continue
        yield named
        return
    built = f"e2e-prometheus:{secrets.token_hex(4)}"
    docker("build", "--quiet", "--tag", built, "--file", str(STAND_IN), str(STAND_IN.parent), limit=600)
    yield built
    docker("image", "rm", "--force", built)


@pytest.fixture(scope="module")
def prometheus(project: ComposeProject, image: str) -> PrometheusApi:
    port = free_port()
    project.up(RNGS=2, PROMETHEUS_IMAGE=image, PROMETHEUS_PORT=port, COMPOSE_PROFILES="observability")
    return PrometheusApi(port)


def all_found(project: ComposeProject, prometheus: PrometheusApi, count: int) -> bool:
    """Return whether the metrics of all replicas, this many, are read, each replica once, and nothing else."""
    known = {
        f"{service} {network['IPAddress']}:{port}": container["Name"]
        for service, port in METRICS_PORTS.items()
        for container in project.containers(service)
        if container["State"]["Running"]
        for network in container["NetworkSettings"]["Networks"].values()
    }
    targets = prometheus.targets()
    return (
        set(targets.values()) == {"up"}
        and len(targets) == len(set(known.values())) == count
        and {known.get(target) for target in targets} == set(known.values())
    )


def test_every_replica_of_every_service_is_found(project: ComposeProject, prometheus: PrometheusApi) -> None:
    wait_until(lambda: all_found(project, prometheus, 5), LIMIT_S, prometheus.targets)


def test_a_replica_that_is_gone_is_forgotten(project: ComposeProject, prometheus: PrometheusApi) -> None:
    project.up(RNGS=1)
    wait_until(lambda: all_found(project, prometheus, 4), LIMIT_S, prometheus.targets)
    assert prometheus.firing() == set()


def test_it_runs_the_rules_without_rights_and_ends_by_itself(
    project: ComposeProject, prometheus: PrometheusApi
) -> None:
    wait_until(lambda: prometheus.query("dockercoins:hashes:rate1m > 0"), LIMIT_S)
    script = "id -u; touch /here /etc/prometheus/here 2>&1; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
    output = project.inside("prometheus", "sh", "-c", script)
    assert output.split()[0] == "65534"
    assert output.count("Read-only file system") == 2
    assert re.search(r"CapEff:\s+0+\nNoNewPrivs:\s+1\n", output)
    project.stop("prometheus")
    assert project.containers("prometheus")[0]["State"]["ExitCode"] == 0
