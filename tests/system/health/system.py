"""All four services as processes, one of them perhaps in trouble, and what probes are told of them."""

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from support.free_port import free_port
from support.probe import ask
from support.redis_server import RedisServer
from support.served import HASHER, RNG, health
from support.service_process import ServiceProcess, ServiceProcesses

SERVICES = ["rng", "hasher", "worker", "webui"]
FULL_NAMES = {"rng": RNG, "hasher": HASHER}
"""Of those that speak gRPC."""

ALIVE = (200, "alive\n")
READY = (200, "ready\n")

TESTS = Path(__file__).parents[2]


def not_ready(*unmet: str) -> tuple[int, str]:
    return 503, f"not ready: {', '.join(unmet)}\n"


def until(condition: Callable[[], bool], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@dataclass
class Service:
    """One of them, and what its probes say."""

    name: str
    process: ServiceProcess
    metrics_port: int

    def ask(self, path: str) -> tuple[int, str]:
        return ask(self.metrics_port, path)

    @property
    def alive(self) -> tuple[int, str] | None:
        return self._ask_if_there("/healthz")

    @property
    def ready(self) -> tuple[int, str] | None:
        return self._ask_if_there("/readyz")

    def _ask_if_there(self, path: str) -> tuple[int, str] | None:
        try:
            return self.ask(path)
        except (OSError, http.client.HTTPException):
            return None

    def statuses(self, limit: float = 2.0) -> tuple[str, str]:
        """What grpc.health.v1 says of alive and of ready, or with what code it fails."""
        with grpc.insecure_channel(f"127.0.0.1:{self.process.port}") as channel:
            return self._status(channel, "", limit), self._status(channel, FULL_NAMES[self.name], limit)

    @staticmethod
    def _status(channel: grpc.Channel, service: str, limit: float) -> str:
        try:
            response = health(channel).Check(HealthCheckRequest(service=service), timeout=limit)
        except grpc.RpcError as error:
            call: Any = error  # which every error of a call is, if not for its types
            return str(call.code().name)
        return str(HealthCheckResponse.ServingStatus.Name(response.status))


class System:
    """Starts them when they are first asked for."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer) -> None:
        self._processes = processes
        self._redis = redis
        self.ports = {name: free_port() for name in FULL_NAMES}

    def start(self, name: str, trouble: str = "", module: str = "", **env: object) -> Service:
        """One of the services, in some trouble or of another module, which knows where the others are or will be."""
        metrics_port = free_port()
        values: dict[str, object] = {"METRICS_PORT": metrics_port, **env}
        if name in FULL_NAMES:
            values.setdefault("PORT", self.ports[name])
        if name in {"worker", "webui"}:
            values.setdefault("REDIS_URL", self._redis.url)
        if name == "webui":
            values.setdefault("PORT", 0)
        if name == "worker":
            values |= {f"{other.upper()}_TARGET": f"ipv4:127.0.0.1:{port}" for other, port in self.ports.items()}
        if trouble:
            module = "system.health.troubled"
            values |= {"SERVICE": name, "TROUBLE": trouble, "PYTHONPATH": TESTS}
        return Service(name, self._processes.start(module or name, **values), metrics_port)

    def start_with_others(self, name: str, trouble: str = "", module: str = "", **env: object) -> Service:
        """One of them, ready, with those it needs."""
        if name == "worker":
            for other in FULL_NAMES:
                self.start(other, PACE=env.get("PACE", "classic")).process.wait_until_started()
        service = self.start(name, trouble, module, **env)
        until(lambda: service.ready == READY)
        return service
