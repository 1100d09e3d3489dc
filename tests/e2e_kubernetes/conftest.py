"""Tests of Kubernetes on a real cluster, whose nodes have the images.

These are dockercoins-grpc/{rng,hasher,worker,webui}:dev and redis:8; for all but the quick tests also
dockercoins-grpc/rng:v2, which may be the same as dev, and Prometheus's, which tests/e2e/prometheus.Dockerfile replaces.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster, current_context

SAFE = "kind-"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Ask before a cluster is touched that may be somebody's."""
    context = os.environ.get("CONTEXT") or current_context()
    if os.environ.get("CONTEXT") or context.startswith(SAFE):
        return
    try:
        terminal = Path("/dev/tty")
        terminal.write_text(f"The tests make a namespace on the cluster of the context {context!r}. Go on? [y/N] ")
        with terminal.open() as keyboard:
            agreed = keyboard.readline().strip().lower() == "y"
    except OSError:
        agreed = False
    if not agreed:
        pytest.exit(f"CONTEXT={context} agrees to tests on that cluster", returncode=2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace with the restricted profile that goes with the module."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    made = Cluster(folder, os.environ.get("CONTEXT") or current_context(), f"e2e-{secrets.token_hex(4)}")
    with made.running():
        yield made


@pytest.fixture
def empty(cluster: Cluster) -> None:
    """Remove what another test has left."""
    cluster.clear()
