"""Systems that wait on purpose are as fast as the model says: that is a matter of replicas, not of the machine."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.scaling import paced
from bench.scaling.model import Costs, predict

pytestmark = pytest.mark.alone(reason="speeds are measured to a tenth, of systems that all run at once")

SYSTEMS = (
    paced.of((1, 1, 1), paced.SHORT, 8, paced.BATCH_SIZE),
    paced.of((2, 3, 3), paced.SHORT, 8, paced.BATCH_SIZE),
    paced.of((2, 4, 1), paced.SHORT, 8, paced.BATCH_SIZE),
)


@pytest.fixture(autouse=True)
def _addresses() -> None:
    for host in paced.HOSTS:
        try:
            socket.create_server((host, 0)).close()
        except OSError:
            if "CI" in os.environ:
                raise
            pytest.skip(f"no address {host} here: sudo ifconfig lo0 alias {host}")


def test_speed_follows_the_replicas_of_the_scarcer_service(tmp_path: Path) -> None:
    """One serial rng, three, and four with one hasher: 50, 150 and 50 batches a second."""
    with ThreadPoolExecutor(2) as some:
        alone, *others = some.map(lambda system: paced.run(system, 6.0, tmp_path), (paced.ALONE, *SYSTEMS))
    costs = Costs({}, way=paced.way(alone))
    for each in others:
        assert each.speed == pytest.approx(predict(each.system, costs).speed, rel=0.1), paced.name(each.system)
