"""Services that get what pods get, and that are asked what their probes ask."""

import base64
import socket
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import kubernetes
from support.admin_endpoint import ask
from support.kubernetes import PROBES, Pod, pods, render
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from support.waiting import wait_until

from deploy.tls import folders

HERE = {"BIND_ADDRESS": "127.0.0.1", "METRICS_PORT": "0"}
"""What is another than in a pod: all processes are on one machine."""

SERVING = health_pb2.HealthCheckResponse.SERVING


def passes(pod: Pod, probe: str, process: ServiceProcess) -> bool:
    """Whether a probe passes, asked as kubelet does."""
    how = pod.container[probe]
    if "grpc" in how:
        with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            request = health_pb2.HealthCheckRequest(service=how["grpc"]["service"])
            health: Any = health_pb2_grpc.HealthStub(channel)
            return bool(health.Check(request, timeout=20).status == SERVING)
    if "tcpSocket" in how:
        socket.create_connection(("127.0.0.1", process.port), 20).close()
        return True
    status, _ = ask(process.metrics_port, how["httpGet"]["path"])
    return 200 <= status < 400


def passing(pod: Pod, process: ServiceProcess) -> list[str]:
    process.wait_until_started()
    return [probe for probe in PROBES if passes(pod, probe, process)]


def test_probes_of_all_pass_once_it_mines_and_a_worker_without_servers_is_alive_and_not_ready(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    found = pods(render("classic"))

    def start(name: str, **more: str) -> ServiceProcess:
        return processes.start(name, **{**found[name].environment, **HERE, "REDIS_URL": redis.url, **more})

    none = "ipv4:127.0.0.1:1"
    lonely = start("worker", INSTANCE="lonely", RNG_TARGET=none, HASHER_TARGET=none)
    started = {name: start(name) for name in ("rng", "hasher", "webui")}
    targets = {f"{name.upper()}_TARGET": local_target(started[name]) for name in ("rng", "hasher")}
    started["worker"] = start("worker", **targets)
    started["worker"].wait_for("[1-9] units of work done")
    for name, process in started.items():
        wait_until(partial(passes, found[name], "readinessProbe", process))
        assert passing(found[name], process) == list(PROBES)
    assert passing(found["worker"], lonely) == ["startupProbe", "livenessProbe"]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Folders with the files of the Secrets that `make certs ARGS=--for-kubernetes` leads to, by their names."""
    folders.for_kubernetes(tmp_path / "certs")
    made: list[Any] = list(yaml.safe_load_all(kubernetes.run("kustomize", tmp_path / "certs")))
    for secret in made:
        place = tmp_path / "secrets" / secret["metadata"]["name"]
        place.mkdir(parents=True)
        for name, content in secret["data"].items():
            (place / name).write_bytes(base64.b64decode(content))
    return tmp_path / "secrets"


def test_probes_of_a_server_with_the_certificates_of_its_secret_pass(
    processes: ServiceProcesses, secrets: Path
) -> None:
    pod = pods(render("tls"))["rng"]
    settings = {name: value.replace("/run/certs", str(secrets / "rng-tls")) for name, value in pod.environment.items()}
    process = processes.start("rng", **{**settings, **HERE})
    assert passing(pod, process) == list(PROBES)
    assert "mutual TLS" in process.text
