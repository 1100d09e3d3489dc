"""The whole system as real processes, killed, frozen, stopped and started."""

import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target

pytestmark = pytest.mark.pair(
    reason="workers take all the CPU there is, and stopping is held to 3.5 s, of which what it waits for takes up to 3"
)

PACES = pytest.mark.parametrize("pace", ["classic", "full"])


def until(condition: Callable[[], bool], limit: float = 30.0) -> float:
    """Wait for a condition and return the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit, "not in time"
        time.sleep(0.01)
    return time.monotonic() - began


def hashes_in(redis: RedisServer) -> int:
    return int(redis.client().get("hashes") or 0)


@dataclass
class System:
    rng: ServiceProcess
    hasher: ServiceProcess
    worker: ServiceProcess

    def stop(self) -> list[int]:
        """In the order that `make run` and compose keep."""
        return [process.stop() for process in (self.worker, self.rng, self.hasher)]


def start(processes: ServiceProcesses, redis: RedisServer, pace: str = "full", **worker: object) -> System:
    rng = processes.start("rng", PACE=pace)
    hasher = processes.start("hasher", PACE=pace)
    targets = {"RNG_TARGET": local_target(rng), "HASHER_TARGET": local_target(hasher)}
    return System(rng, hasher, processes.start("worker", PACE=pace, REDIS_URL=redis.url, **targets, **worker))


def stop_between_reports(redis: RedisServer, worker: ServiceProcess) -> None:
    """Stop it with no report on its way, which it might have counted while the worker never hears of that."""
    worker.send(signal.SIGSTOP)
    time.sleep(0.3)
    redis.stop()
    worker.send(signal.SIGCONT)


@PACES
def test_stopping_takes_less_than_three_and_a_half_seconds_and_loses_nothing(
    pace: str, processes: ServiceProcesses, redis: RedisServer
) -> None:
    system = start(processes, redis, pace)
    until(lambda: hashes_in(redis) > 3)
    began = time.monotonic()
    assert system.stop() == [0, 0, 0]
    assert time.monotonic() - began < 3.5
    assert hashes_in(redis) == system.worker.units_logged > 0


@PACES
def test_all_told_to_stop_at_once_are_gone_in_three_and_a_half_seconds(
    pace: str, processes: ServiceProcesses, redis: RedisServer
) -> None:
    """As when the machine shuts down, and nobody keeps the order."""
    system = start(processes, redis, pace)
    until(lambda: hashes_in(redis) > 3)
    began = time.monotonic()
    for process in (system.rng, system.hasher, system.worker):
        process.send(signal.SIGTERM)
    assert [process.popen.wait(10) for process in (system.rng, system.hasher, system.worker)] == [0, 0, 0]
    assert time.monotonic() - began < 3.5
    assert hashes_in(redis) == system.worker.units_logged


@pytest.mark.parametrize("victim", ["rng", "hasher"])
def test_mining_resumes_when_a_killed_service_is_back(
    victim: str, processes: ServiceProcesses, redis: RedisServer
) -> None:
    """And the ledger holds exactly the hashes of completed batches."""
    system = start(processes, redis, BATCH_SIZE=256)
    until(lambda: hashes_in(redis) > 0)
    killed = getattr(system, victim)
    port = killed.port
    killed.kill()
    time.sleep(1.2)
    stuck = system.worker.units_logged
    again = processes.start(victim, PACE="full", PORT=port, INSTANCE="again")
    assert again.port == port
    assert until(lambda: system.worker.units_logged > stuck) < 2
    setattr(system, victim, again)
    assert system.stop() == [0, 0, 0]
    assert hashes_in(redis) == system.worker.units_logged


def test_any_order_of_starting_works(processes: ServiceProcesses, redis: RedisServer) -> None:
    redis.stop()
    ports = {"rng": free_port(), "hasher": free_port()}
    worker = processes.start(
        "worker",
        REDIS_URL=redis.url,
        RNG_TARGET=f"ipv4:127.0.0.1:{ports['rng']}",
        HASHER_TARGET=f"ipv4:127.0.0.1:{ports['hasher']}",
    )
    worker.wait_for("no backend")
    processes.start("hasher", PORT=ports["hasher"])
    time.sleep(1)
    processes.start("rng", PORT=ports["rng"])
    worker.wait_for("[1-9] units of work done")
    redis.start()
    until(lambda: hashes_in(redis) > 0)
    assert worker.stop() == 0
    assert hashes_in(redis) == worker.units_logged


def test_redis_gone_for_ten_seconds_loses_nothing(processes: ServiceProcesses, redis: RedisServer) -> None:
    system = start(processes, redis)
    until(lambda: hashes_in(redis) > 0)
    redis.stop(signal.SIGKILL)
    before = system.worker.units_logged
    time.sleep(10)
    assert system.worker.units_logged > before
    redis.start()
    until(lambda: hashes_in(redis) >= system.worker.units_logged)
    assert system.stop() == [0, 0, 0]
    assert hashes_in(redis) == system.worker.units_logged


def test_mining_waits_when_redis_stays_away_and_goes_on_when_it_is_back(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    system = start(processes, redis, REPORT_INTERVAL=0.1)
    until(lambda: hashes_in(redis) > 0)
    redis.stop()
    system.worker.wait_for("reports wait")
    time.sleep(8)
    waiting = system.worker.units_logged
    time.sleep(1)
    assert system.worker.units_logged == waiting
    redis.start()
    until(lambda: system.worker.units_logged > waiting)
    assert system.stop() == [0, 0, 0]
    assert hashes_in(redis) == system.worker.units_logged


def test_a_redis_away_at_the_very_end_costs_what_the_log_says(processes: ServiceProcesses, redis: RedisServer) -> None:
    system = start(processes, redis)
    until(lambda: hashes_in(redis) > 0)
    stop_between_reports(redis, system.worker)
    time.sleep(1.5)
    began = time.monotonic()
    assert system.worker.stop() == 1
    assert time.monotonic() - began < 3.5
    lost = int(system.worker.wait_for(r"hashes could not be reported.*hashes=(\d+)")[1])
    redis.start()
    assert hashes_in(redis) + lost == system.worker.units_logged


def test_what_was_mined_while_no_report_could_be_made_is_said_at_the_end(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    """Also what was in flight when the queue of reports was full."""
    system = start(processes, redis, REPORT_INTERVAL=0.1)
    until(lambda: hashes_in(redis) > 0)
    stop_between_reports(redis, system.worker)
    time.sleep(8)
    assert system.worker.stop() == 1
    lost = int(system.worker.wait_for(r"hashes could not be reported.*hashes=(\d+)")[1])
    redis.start()
    assert hashes_in(redis) + lost == system.worker.units_logged
    assert re.findall(r"(\d+) units of work done", system.worker.text)[-1] != "0"


def test_a_new_worker_goes_on_from_the_same_counts(processes: ServiceProcesses, redis: RedisServer) -> None:
    first = start(processes, redis)
    until(lambda: hashes_in(redis) > 0)
    first.stop()
    second = start(processes, redis)
    until(lambda: hashes_in(redis) > first.worker.units_logged)
    second.stop()
    assert hashes_in(redis) == first.worker.units_logged + second.worker.units_logged


def test_a_killed_worker_loses_at_most_what_it_had_not_reported(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    system = start(processes, redis)
    until(lambda: system.worker.units_logged > 0 and hashes_in(redis) > 0)
    system.worker.kill()
    held = hashes_in(redis)
    entries = [int(entry["hashes"]) for _, entry in redis.client().xrange("reports")]
    assert held == sum(entries)
    assert system.worker.units_logged - entries[-1] <= held <= system.worker.units_logged + entries[-1]


def test_a_frozen_worker_goes_on_where_it_was(processes: ServiceProcesses, redis: RedisServer) -> None:
    system = start(processes, redis)
    until(lambda: hashes_in(redis) > 0)
    system.worker.send(signal.SIGSTOP)
    time.sleep(4)
    system.worker.send(signal.SIGCONT)
    before = system.worker.units_logged
    until(lambda: system.worker.units_logged > before)
    assert system.stop() == [0, 0, 0]
    assert hashes_in(redis) == system.worker.units_logged


def test_a_second_signal_ends_it_at_once(processes: ServiceProcesses, redis: RedisServer) -> None:
    system = start(processes, redis)
    until(lambda: hashes_in(redis) > 0)
    system.hasher.send(signal.SIGSTOP)
    system.worker.send(signal.SIGTERM)
    system.worker.wait_for("stopping")
    assert system.worker.stop(limit=0.5) == 128 + signal.SIGTERM


def test_it_is_ready_when_both_services_are_there(processes: ServiceProcesses, redis: RedisServer) -> None:
    metrics_port = free_port()

    def ready() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/readyz", timeout=1) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    rng = processes.start("rng")
    port = free_port()
    targets = {"RNG_TARGET": local_target(rng), "HASHER_TARGET": f"ipv4:127.0.0.1:{port}"}
    worker = processes.start("worker", REDIS_URL=redis.url, METRICS_PORT=metrics_port, **targets)
    worker.wait_until_started()
    until(lambda: ready() == (503, "not ready: hasher\n"))
    hasher = processes.start("hasher", PORT=port)
    until(lambda: ready()[0] == 200)
    hasher.kill()
    until(lambda: ready() == (503, "not ready: hasher\n"))
