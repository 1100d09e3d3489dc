"""What a local run starts: each program's name, command, environment and ports."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from chassis.settings import ServiceSettings, SettingsError
from hasher_svc.settings import HasherSettings
from local_run import embedded_redis
from local_run.settings import METRICS_STEP, LocalRunSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

LOOPBACK = "127.0.0.1"

_SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "rng": RngSettings,
    "hasher": HasherSettings,
    "worker": WorkerSettings,
    "webui": WebuiSettings,
}


class Stage(IntEnum):
    """When a program starts: the lowest first. They stop the other way round, each stage when the one before is gone.

    The worker stops first, while those it drains through still serve; Redis last, when its last report is in.
    """

    REDIS = 1
    SERVERS = 2
    WORKERS = 3


@dataclass(frozen=True)
class Port:
    """A port that must be free, and the variable that chooses it."""

    host: str
    number: int
    variable: str


@dataclass(frozen=True)
class Program:
    """One process to be kept running."""

    name: str
    stage: Stage
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it gets beyond our own environment."""
    ports: tuple[Port, ...] = ()
    settings: type[ServiceSettings] | None = None
    log_file: str = ""
    """Where it says what it has to say, if that is not its output."""

    def check_settings(self) -> None:
        """Raise SettingsError if the program would refuse the environment that it is going to get."""
        if self.settings is None:
            return
        with _environment(self.environment):
            try:
                self.settings.load()
            except SettingsError as error:
                raise SettingsError(f"{self.name}: {error}") from None


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def programs(settings: LocalRunSettings, given: frozenset[str]) -> list[Program]:
    """All of a local run, in order of starting; `given` are the variables that the user has set."""
    address = _address_to_ask(settings.host)
    redis = _redis_access(settings)
    targets = {
        "RNG_TARGET": _target(address, settings.rng_port, settings.rngs),
        "HASHER_TARGET": _target(address, settings.hasher_port, settings.hashers),
    }
    worker = redis | {name: value for name, value in targets.items() if name not in given}
    plan = _Plan(settings.host)
    return [
        *([_redis(settings)] if settings.embeds_redis else []),
        *plan.replicas("rng", settings.rngs, settings.rng_port, settings.rng_metrics_port),
        *plan.replicas("hasher", settings.hashers, settings.hasher_port, settings.hasher_metrics_port),
        plan.service("webui", "webui", redis, settings.webui_port, settings.webui_metrics_port),
        *plan.replicas("worker", settings.workers, None, settings.worker_metrics_port, worker),
    ]


def page_address(settings: LocalRunSettings) -> tuple[str, int]:
    """Where a browser on this machine finds the page."""
    return _address_to_ask(settings.host), settings.webui_port


def _redis_access(settings: LocalRunSettings) -> dict[str, str]:
    if not settings.embeds_redis:
        return {"REDIS_URL": settings.redis_url}
    return {
        "REDIS_URL": embedded_redis.url(settings.redis_port),
        "REDIS_PASSWORD_FILE": embedded_redis.password_file(settings.data_dir),
    }


def _redis(settings: LocalRunSettings) -> Program:
    return Program(
        name="redis",
        stage=Stage.REDIS,
        command=embedded_redis.command(settings.redis_port, settings.data_dir, with_password=True),
        ports=(Port(embedded_redis.HOST, settings.redis_port, "REDIS_PORT"),),
        log_file=embedded_redis.log_file(settings.data_dir),
    )


@dataclass(frozen=True)
class _Plan:
    host: str

    def replicas(
        self,
        service: str,
        count: int,
        port: int | None,
        metrics_port: int,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Program]:
        """Numbered instances on consecutive ports, and with metrics on every tenth; a metrics port of 0 is any."""
        for index in range(count):
            yield self.service(
                service,
                f"{service}-{index + 1}",
                environment or {},
                None if port is None else port + index,
                metrics_port and metrics_port + index * METRICS_STEP,
            )

    def service(
        self, service: str, instance: str, environment: Mapping[str, str], port: int | None, metrics_port: int
    ) -> Program:
        variables = {f"{service.upper()}_PORT": port, f"{service.upper()}_METRICS_PORT": metrics_port}
        return Program(
            name=instance,
            stage=Stage.WORKERS if service == "worker" else Stage.SERVERS,
            command=(sys.executable, "-m", f"{service}_svc"),
            environment={
                **environment,
                "INSTANCE": instance,
                "METRICS_PORT": str(metrics_port),
                **({} if port is None else {"PORT": str(port)}),
            },
            ports=tuple(Port(self.host, number, variable) for variable, number in variables.items() if number),
            settings=_SETTINGS[service],
        )


def _address_to_ask(host: str) -> str:
    """The address at which this machine reaches who listens on host. Raises SettingsError when there is none."""
    try:
        address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise SettingsError(
            f"HOST={host!r} is not allowed: it must be an address to listen on ({error.strerror})"
        ) from None
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(address, address)  # noqa: S104 - compared with, not listened on


def _target(address: str, first_port: int, count: int) -> str:
    scheme, host = ("ipv6", f"[{address}]") if ":" in address else ("ipv4", address)
    return f"{scheme}:" + ",".join(f"{host}:{first_port + index}" for index in range(count))
