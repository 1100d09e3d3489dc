import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from integration.chassis.probe import ask
from integration.chassis.served import HASHER, health
from support.free_port import free_port
from support.service_process import ServiceProcesses

LOAD = Path(__file__).with_name("hash_load.py")
TESTS = Path(__file__).parents[2]
SECONDS = 3.0
LIMIT = 0.1


def seconds_taken(probe: Callable[[], object], until: float) -> list[float]:
    """How long each of many probes took, in ascending order."""
    taken = []
    while (begin := time.monotonic()) < until:
        probe()
        taken.append(time.monotonic() - begin)
        time.sleep(0.005)
    return sorted(taken)


def p99_under_load(port: int, metrics_port: int) -> dict[str, float]:
    """The 99th percentile of health's answers over gRPC and over HTTP, in seconds."""
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ThreadPoolExecutor(2) as threads,
        subprocess.Popen([sys.executable, str(LOAD), str(port), str(SECONDS + 1)], stdout=subprocess.PIPE) as load,
    ):
        check = health(channel).Check

        def over_grpc() -> None:
            response = check(HealthCheckRequest(service=HASHER), timeout=5)
            assert response.status == HealthCheckResponse.SERVING

        def over_http() -> None:
            assert ask(metrics_port, "/readyz") == (200, "ready\n")

        over_grpc()
        time.sleep(0.7)  # until the load has started
        until = time.monotonic() + SECONDS
        measuring = {
            name: threads.submit(seconds_taken, probe, until)
            for name, probe in (("grpc", over_grpc), ("http", over_http))
        }
        taken = {name: future.result() for name, future in measuring.items()}
        answered, _ = load.communicate(timeout=20)
    assert int(answered) > 20, "this was no load"
    return {name: values[-1 - len(values) // 100] for name, values in taken.items()}


@pytest.mark.parametrize("name", ["hasher", "integration.hasher.hashlib_hasher"])
def test_health_answers_within_100_ms_while_hasher_is_saturated(processes: ServiceProcesses, name: str) -> None:
    """In one of three attempts, since whatever else runs on this machine only adds to it."""
    metrics_port = free_port()
    process = processes.start(name, PORT=0, PACE="full", METRICS_PORT=metrics_port, PYTHONPATH=TESTS)
    process.wait_until_started()
    attempts: list[dict[str, float]] = []
    while len(attempts) < 3:
        attempts.append(p99_under_load(process.port, metrics_port))
        if max(attempts[-1].values()) < LIMIT:
            return
    raise AssertionError(attempts)
