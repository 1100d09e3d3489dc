import base64
import socket
from functools import partial
from pathlib import Path

import grpc
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from support import kubernetes
from support.admin_endpoint import http_get
from support.kubernetes import PROBES, Object, Pod, named, pods, render
from support.redis_server import RedisServer
from support.served import health
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from support.waiting import wait_until

from deploy.certs import folders

# All processes are on one machine, other than pods.
HERE = {"BIND_ADDRESS": "127.0.0.1", "METRICS_PORT": "0"}


def passes(probe: Object, process: ServiceProcess) -> bool:
    """Return whether a probe passes that is sent as kubelet does."""
    if "grpc" in probe:
        with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            response = health(channel).Check(HealthCheckRequest(service=probe["grpc"]["service"]), timeout=20)
            return bool(response.status == HealthCheckResponse.SERVING)
    if "tcpSocket" in probe:
        socket.create_connection(("127.0.0.1", process.port), 20).close()
        return True
    status, _ = http_get(process.metrics_port, probe["httpGet"]["path"])
    return 200 <= status < 400


def all_pass(pod: Pod, process: ServiceProcess) -> bool:
    process.wait_until_started()
    return all(passes(pod.container[name], process) for name in PROBES)


def test_probes_of_all_pass_once_it_mines(processes: ServiceProcesses, own_redis: RedisServer) -> None:
    found = pods(render("classic"))

    def start(name: str, **more: str) -> ServiceProcess:
        return processes.start(name, **{**found[name].environment, **HERE, "REDIS_URL": own_redis.url, **more})

    started = {name: start(name) for name in ("rng", "hasher", "webui")}
    targets = {f"{name.upper()}_TARGET": local_target(started[name]) for name in ("rng", "hasher")}
    started["worker"] = start("worker", **targets)
    started["worker"].wait_for("[1-9] units of work done")
    for name, process in started.items():
        wait_until(partial(all_pass, found[name], process))


def test_probes_of_a_server_with_the_certificates_of_its_secret_pass(
    processes: ServiceProcesses, tmp_path: Path
) -> None:
    """As `make certs ARGS=--for-kubernetes` makes the Secret."""
    folders.for_kubernetes(tmp_path)
    secret = named(yaml.safe_load_all(kubernetes.run("kustomize", tmp_path)), "Secret", "rng-tls")
    for name, content in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    pod = pods(render("tls"))["rng"]
    settings = {name: value.replace("/run/certs", str(tmp_path)) for name, value in pod.environment.items()}
    process = processes.start("rng", **{**settings, **HERE})
    wait_until(partial(all_pass, pod, process))
    assert "mutual TLS" in process.text
