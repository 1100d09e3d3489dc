import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from integration.chassis.probe import ask
from integration.chassis.served import HASHER, health
from support.free_port import free_port
from support.service_process import ServiceProcesses

LOAD = Path(__file__).with_name("hash_load.py")
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


def test_health_answers_within_100_ms_while_hasher_is_saturated(processes: ServiceProcesses) -> None:
    metrics_port = free_port()
    process = processes.start("hasher", PACE="full", METRICS_PORT=metrics_port)
    process.wait_until_started()
    with (
        grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel,
        ThreadPoolExecutor(2) as threads,
        subprocess.Popen(
            [sys.executable, str(LOAD), str(process.port), str(SECONDS + 1)], stdout=subprocess.PIPE, text=True
        ) as load,
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
        measured = {
            name: threads.submit(seconds_taken, probe, until)
            for name, probe in (("grpc", over_grpc), ("http", over_http))
        }
        p99 = {}
        for name, future in measured.items():
            taken = future.result()
            assert len(taken) > 20
            p99[name] = taken[-1 - len(taken) // 100]
        output, _ = load.communicate(timeout=20)
    assert int(output) > 20, "this was no load"
    assert max(p99.values()) < LIMIT, p99
