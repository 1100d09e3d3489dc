"""The workshop's numbers, on one system that grows, and what its page shows of them.

Speed is of the reports: the hashes over the time they took, added up over the workers. On a busy machine it is too low;
`make perf` measures it to a hundredth.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.followed_page import FollowedPage
from support.free_port import free_ports
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, local_target, service_processes
from support.waiting import wait_until

SETTLED_S = 2.5
MEASURED_S = 6.0


class System:
    """One hasher, and as many rngs and workers as were started; a second rng is found when it comes."""

    def __init__(self, redis: RedisServer, processes: ServiceProcesses) -> None:
        self.redis = redis
        self._processes = processes
        self._workers: list[ServiceProcess] = []
        first = free_ports(2)
        self._rng_ports = [first, first + 1]
        targets = {"RNG_TARGET": f"ipv4:127.0.0.1:{first},127.0.0.1:{first + 1}"}
        targets["HASHER_TARGET"] = local_target(processes.start("hasher"))
        self._settings = {"REDIS_URL": redis.url, **targets}
        self.webui = processes.start("webui", REDIS_URL=redis.url)

    def add(self, workers: int, rngs: int) -> None:
        for _ in range(rngs):
            self._processes.start("rng", PORT=self._rng_ports.pop(0)).wait_until_started()
        self._workers += [self._processes.start("worker", **self._settings) for _ in range(workers)]
        wait_until(lambda: all(worker.units_logged for worker in self._workers))

    def speed(self) -> float:
        """Measure the hashes a second that are reported from now on."""
        time.sleep(SETTLED_S)
        began_us = time.time() * 1e6
        time.sleep(MEASURED_S)
        hashes: dict[str, int] = defaultdict(int)
        seconds: dict[str, float] = defaultdict(float)
        for _, entry in self.redis.client().xrange("reports"):
            if int(entry["begin_us"]) >= began_us:
                hashes[entry["worker"]] += int(entry["hashes"])
                seconds[entry["worker"]] += (int(entry["end_us"]) - int(entry["begin_us"])) / 1e6
        assert len(hashes) == len(self._workers)
        return sum(hashes[worker] / seconds[worker] for worker in hashes)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder: Path = tmp_path_factory.mktemp("system")
    with redis_server(folder) as redis, service_processes(folder) as processes:
        yield System(redis, processes)


def test_one_worker_makes_three_and_a_third_and_the_graph_is_flat(system: System) -> None:
    system.add(workers=1, rngs=1)
    system.webui.wait_until_started()
    page = FollowedPage(system.webui.port)
    assert 0.8 * 10 / 3 < system.speed() < 1.03 * 10 / 3
    wait_until(lambda: len(page.points) >= MEASURED_S)
    assert page.points[-5:] == pytest.approx([10 / 3] * 5, rel=0.25)


def test_a_serial_rng_is_the_limit_for_six_and_two_rngs_are_twice_as_fast(system: System) -> None:
    system.add(workers=5, rngs=0)
    assert 8 < system.speed() < 10.3
    system.add(workers=0, rngs=1)
    assert 16 < system.speed() < 20.6
