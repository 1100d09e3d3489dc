"""The workshop's numbers, measured for a minute on systems of real processes, all at the same time.

Speed is of the reports: the hashes over the time they took, added up over the workers.
"""

import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.free_port import free_port
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, local_target, service_processes
from system.bare_echoes import bare_echoes

pytestmark = pytest.mark.alone(reason="CPU and speeds are measured to a hundredth")

WARM_UP = 6.0
DURATION = 60.0

MOST_CPU = 0.03
"""Of a core, which is what is wanted. 0.025 to 0.028 is measured where two bare echo servers at the same pace take
0.005 of one."""

MOST_ECHOES = 6.5
"""Times those echoes, which is what slower machines are held to: there all took 0.028 to 0.037, which was 4.4 to 5.8
times as much as the echoes; these are known to a twentieth, since the system counts CPU in hundredths of a second."""


@dataclass
class Usage:
    cpu_seconds: float
    resident_bytes: int


@dataclass
class System:
    """One Redis, and services around it."""

    redis: RedisServer
    processes: ServiceProcesses
    workers: int
    rngs: int = 1
    services: list[ServiceProcess] = field(default_factory=list)

    def start(self) -> None:
        rngs = [self.processes.start("rng") for _ in range(self.rngs)]
        hasher = self.processes.start("hasher")
        targets = {"RNG_TARGET": local_target(*rngs), "HASHER_TARGET": local_target(hasher)}
        workers = [self.processes.start("worker", REDIS_URL=self.redis.url, **targets) for _ in range(self.workers)]
        self.services = [*rngs, hasher, *workers]

    def speed(self) -> float:
        """Hashes a second over the last DURATION seconds."""
        end_us = time.time() * 1e6
        hashes: dict[str, int] = defaultdict(int)
        seconds: dict[str, float] = defaultdict(float)
        for _, entry in self.redis.client().xrange("reports"):
            if int(entry["begin_us"]) >= end_us - DURATION * 1e6:
                hashes[entry["worker"]] += int(entry["hashes"])
                seconds[entry["worker"]] += (int(entry["end_us"]) - int(entry["begin_us"])) / 1e6
        assert len(hashes) == self.workers
        return sum(hashes[worker] / seconds[worker] for worker in hashes)

    def usage(self) -> Usage:
        processes = [psutil.Process(service.popen.pid) for service in self.services] + [psutil.Process(self.redis.pid)]
        return Usage(cpu_seconds(processes), sum(process.memory_info().rss for process in processes))


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(spent.user + spent.system for spent in (process.cpu_times() for process in processes))


@contextmanager
def a_system(folder: Path, workers: int, rngs: int = 1) -> Iterator[System]:
    with redis_server(folder) as redis, service_processes(folder) as processes:
        system = System(redis, processes, workers, rngs)
        system.start()
        yield system


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as response:
        return json.load(response)


def reported(system: System) -> int:
    return sum(int(entry["hashes"]) for _, entry in system.redis.client().xrange("reports"))


@dataclass
class Minute:
    """What a minute at the classic pace showed; CPU is in cores."""

    speeds: dict[tuple[int, int], float]
    cpu: float
    cpu_of_echoes: float
    resident_bytes: int
    points: list[tuple[float, float]]
    page: dict[str, float]
    reported: int
    reported_before: int


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minute]:
    folders = [tmp_path_factory.mktemp("system") for _ in range(4)]
    with (
        a_system(folders[0], workers=1) as one,
        a_system(folders[1], workers=3) as three,
        a_system(folders[2], workers=10) as ten,
        a_system(folders[3], workers=10, rngs=2) as ten_on_two,
        bare_echoes(folders[0]) as echoes,
    ):
        webui = one.processes.start("webui", REDIS_URL=one.redis.url, PORT=(port := free_port()))
        one.services.append(webui)
        systems = [one, three, ten, ten_on_two]
        for system in systems:
            for service in system.services:
                service.wait_until_started()
        time.sleep(WARM_UP)
        before, echoes_before = one.usage(), cpu_seconds(echoes)
        time.sleep(DURATION)
        after, echoes_after = one.usage(), cpu_seconds(echoes)
        history = ask(port, f"api/history?seconds={int(DURATION)}")
        reported_before = reported(one)
        page = ask(port, "json")
        yield Minute(
            speeds={(system.workers, system.rngs): system.speed() for system in systems},
            cpu=(after.cpu_seconds - before.cpu_seconds) / DURATION,
            cpu_of_echoes=(echoes_after - echoes_before) / DURATION,
            resident_bytes=after.resident_bytes,
            points=history["points"],
            page=page,
            reported_before=reported_before,
            reported=reported(one),
        )


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("workers", "rngs", "expected", "tolerance"),
    [(1, 1, 10 / 3, 0.015), (3, 1, 10, 0.02), (10, 1, 10, 0.02), (10, 2, 20, 0.02)],
)
def test_the_speed_is_the_workshops(minute: Minute, workers: int, rngs: int, expected: float, tolerance: float) -> None:
    """One worker waits 0.3 s a hash; one serial rng is the limit from three workers on, two rngs from six."""
    assert minute.speeds[workers, rngs] == pytest.approx(expected, rel=tolerance)


def test_the_graph_is_flat(minute: Minute) -> None:
    assert len(minute.points) >= DURATION - 5
    for _, speed in minute.points:
        assert speed == pytest.approx(10 / 3, rel=0.04)


def test_the_page_shows_the_sum_of_the_reports(minute: Minute) -> None:
    assert minute.reported_before <= minute.page["hashes"] <= minute.reported


def test_five_processes_take_almost_no_cpu(minute: Minute) -> None:
    assert minute.cpu < max(MOST_CPU, MOST_ECHOES * minute.cpu_of_echoes)


def test_five_processes_hold_less_than_350_megabytes(minute: Minute) -> None:
    assert minute.resident_bytes < 350e6
