"""Services that are told what pods are told, and asked what their probes ask."""

import base64
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.probe import ask
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.environment import environment
from unit.deploy.kubernetes.pods import Pod, pods
from unit.deploy.kubernetes.policies.probes import PROBES

from deploy.tls import folders

HERE = {"BIND_ADDRESS": "127.0.0.1", "METRICS_PORT": "0"}
"""What is another than in a pod: all processes are on one machine."""

SERVING = health_pb2.HealthCheckResponse.SERVING


def probed(pod: Pod, probe: str, process: ServiceProcess) -> bool:
    """Whether a probe passes, asked as kubelet does."""
    how = pod.container[probe]
    if "grpc" in how:
        with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            request = health_pb2.HealthCheckRequest(service=how["grpc"]["service"])
            health: Any = health_pb2_grpc.HealthStub(channel)
            return bool(health.Check(request, timeout=how["timeoutSeconds"]).status == SERVING)
    if "tcpSocket" in how:
        socket.create_connection(("127.0.0.1", process.port), how["timeoutSeconds"]).close()
        return True
    status, _ = ask(process.metrics_port, how["httpGet"]["path"])
    return 200 <= status < 400


def by_name(overlay: str) -> Callable[[str], tuple[Pod, dict[str, str]]]:
    objects = rendered.render(overlay)
    found = {pod.name: pod for pod in pods(objects)}
    return lambda name: (found[name], environment(found[name], objects))


def test_probes_of_all_pass_once_it_mines(processes: ServiceProcesses, redis: RedisServer) -> None:
    told = by_name("classic")
    started = {name: processes.start(name, **{**told(name)[1], **HERE, "INSTANCE": name}) for name in ("rng", "hasher")}
    targets = {f"{name.upper()}_TARGET": local_target(process) for name, process in started.items()}
    for name, more in (("worker", targets), ("webui", {})):
        settings = {**told(name)[1], **HERE, "INSTANCE": name, "REDIS_URL": redis.url}
        started[name] = processes.start(name, **settings, **more)
    started["worker"].wait_for("[1-9] units of work done")
    for name, process in started.items():
        pod, _ = told(name)
        process.wait_until_started()
        assert [probe for probe in PROBES if not probed(pod, probe, process)] == []


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Folders with the files of the Secrets that `make certs ARGS=--for-kubernetes` leads to, by their names."""
    folders.for_kubernetes(tmp_path / "certs")
    made: list[Any] = list(yaml.safe_load_all(rendered.run("kustomize", tmp_path / "certs")))
    for secret in made:
        place = tmp_path / "secrets" / secret["metadata"]["name"]
        place.mkdir(parents=True)
        for name, content in secret["data"].items():
            (place / name).write_bytes(base64.b64decode(content))
    return tmp_path / "secrets"


@pytest.mark.parametrize("name", ["rng", "hasher"])
def test_probes_of_a_server_that_encrypts_pass(processes: ServiceProcesses, secrets: Path, name: str) -> None:
    pod, settings = by_name("tls")(name)
    (volume,) = pod.spec["volumes"]
    (mount,) = pod.container["volumeMounts"]
    (source,) = volume["projected"]["sources"]
    place = str(secrets / source["secret"]["name"])
    settings = {key: value.replace(mount["mountPath"], place) for key, value in settings.items()}
    process = processes.start(name, **{**settings, **HERE})
    process.wait_until_started()
    assert "mutual TLS" in process.text
    assert [probe for probe in PROBES if not probed(pod, probe, process)] == []


def test_a_probe_that_must_fail_fails(processes: ServiceProcesses) -> None:
    """Of a worker that has nobody to ask: alive, and not ready."""
    pod, settings = by_name("classic")("worker")
    nobody = {"RNG_TARGET": "ipv4:127.0.0.1:1", "HASHER_TARGET": "ipv4:127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}
    process = processes.start("worker", **{**settings, **HERE, **nobody})
    process.wait_until_started()
    assert [probe for probe in PROBES if probed(pod, probe, process)] == ["startupProbe", "livenessProbe"]
