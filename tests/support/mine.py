"""The four services as processes on known ports, and what probes get from them."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from support.admin_endpoint import http_get
from support.free_port import free_port
from support.redis_server import RedisServer, redis_server
from support.served import HASHER, RNG, health
from support.service_process import ServiceProcess, ServiceProcesses, service_processes
from support.waiting import wait_until

SERVICES = ("rng", "hasher", "worker", "webui")
FULL_NAMES = {"rng": RNG, "hasher": HASHER}

ALIVE = (200, "alive\n")
READY = (200, "ready\n")


def not_ready(*unmet: str) -> tuple[int, str]:
    return 503, f"not ready: {', '.join(unmet)}\n"


class Mine:
    """At most one of each service; each has the addresses of the others."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer) -> None:
        self._processes = processes
        self.redis = redis
        self.ports = {name: free_port() for name in ("rng", "hasher", "webui")}
        self.metrics_ports = {name: free_port() for name in SERVICES}
        self.running: dict[str, ServiceProcess] = {}

    def start(self, name: str, module: str = "", **env: Any) -> ServiceProcess:
        """Start a service, perhaps of another module than its own."""
        values: dict[str, object] = {"METRICS_PORT": self.metrics_ports[name], **env}
        if name in self.ports:
            values["PORT"] = self.ports[name]
        if name in {"worker", "webui"}:
            values["REDIS_URL"] = self.redis.url
        if name == "worker":
            values |= {f"{other.upper()}_TARGET": f"ipv4:127.0.0.1:{self.ports[other]}" for other in FULL_NAMES}
        self.running[name] = self._processes.start(module or name, **values)
        return self.running[name]

    def start_all(self, **env: Any) -> None:
        """Start all, and wait until they are ready."""
        for name in SERVICES:
            self.start(name, **env)
        for name in SERVICES:
            self.until(name, READY)

    def probe(self, name: str, path: str = "/readyz", limit_s: float = 2.0) -> tuple[int, str] | None:
        """Return the status and text, or None without a response in time."""
        try:
            return http_get(self.metrics_ports[name], path, limit_s)
        except (OSError, http.client.HTTPException):
            return None

    def until(self, name: str, response: tuple[int, str]) -> None:
        """Wait until a service that is alive says this of its readiness."""
        wait_until(lambda: self.probe(name) == response)
        assert self.probe(name, "/healthz", 10) == ALIVE

    def grpc_health(self, name: str, limit_s: float = 10.0) -> tuple[str, str]:
        """Return what grpc.health.v1 says of alive and of ready, or the code of its failure."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}") as channel:
            return self._status(channel, "", limit_s), self._status(channel, FULL_NAMES[name], limit_s)

    @staticmethod
    def _status(channel: grpc.Channel, service: str, limit_s: float) -> str:
        try:
            response = health(channel).Check(HealthCheckRequest(service=service), timeout=limit_s)
        except grpc.RpcError as error:
            call: Any = error  # which every error of a call is, if not for its types
            return str(call.code().name)
        return str(HealthCheckResponse.ServingStatus.Name(response.status))

    def mines_on(self, times: int = 1) -> None:
        """Wait until the worker has logged `times` more reports with work."""
        worker = self.running["worker"]
        for _ in range(times):
            units = worker.units_logged
            wait_until(lambda units=units: worker.units_logged > units)  # type: ignore[misc] # mypy has no types for defaults


@contextmanager
def new_mine(folder: Path) -> Iterator[Mine]:
    """A mine with a Redis of its own, and no service yet."""
    with redis_server(folder / "redis") as redis, service_processes(folder) as processes:
        yield Mine(processes, redis)
