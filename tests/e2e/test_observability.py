"""The profile `observability`: Prometheus beside the containers, which it finds by their names."""

import re
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compose_project import ROOT, ComposeProject, docker
from support.free_port import free_port
from support.prometheus_api import PrometheusApi

STAND_IN = Path(__file__).parent / "prometheus.Dockerfile"

LIMIT_S = 60.0
"""In which Prometheus sees what changed; it looks for replicas and reads their metrics every five seconds."""


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    """The image of compose.yaml, or where it is not there and can't be pulled, a stand-in."""
    [named] = re.findall(r"PROMETHEUS_IMAGE:-([^}]+)}", (ROOT / "compose.yaml").read_text())
    for words in (("image", "inspect", named), ("pull", "--quiet", named)):
        try:
            docker(*words, limit=300)
        except subprocess.SubprocessError:
            continue
        yield named
        return
    built = f"e2e-prometheus:{secrets.token_hex(4)}"
    docker("build", "--quiet", "--tag", built, "--file", str(STAND_IN), str(STAND_IN.parent), limit=600)
    yield built
    docker("image", "rm", "--force", built)


def wait_until_found(prometheus: PrometheusApi, replicas: dict[str, int]) -> None:
    """Wait until so many targets of each service, and no others, are up."""
    up = Counter({(service, "up"): number for service, number in replicas.items()})
    prometheus.until(
        lambda: Counter((target.split()[0], state) for target, state in prometheus.targets().items()) == up, LIMIT_S
    )


def test_every_replica_is_found_until_it_is_gone_and_the_rules_run(project: ComposeProject, image: str) -> None:
    port = free_port()
    prometheus = PrometheusApi(port)
    project.up(RNGS=2, PROMETHEUS_IMAGE=image, PROMETHEUS_PORT=port, COMPOSE_PROFILES="observability")
    for rngs in (2, 1):
        project.up(RNGS=rngs)
        wait_until_found(prometheus, {"rng": rngs, "hasher": 1, "worker": 1, "webui": 1})
    prometheus.until(lambda: prometheus.query("dockercoins:hashes:rate1m > 0"), LIMIT_S)
    assert prometheus.firing() == set()
    project.stop("prometheus")
    assert project.containers("prometheus")[0]["State"]["ExitCode"] == 0
