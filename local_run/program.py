"""What a local run starts: each program's name, command, environment and ports."""

import contextlib
import os
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
    """A port that must be free, and the variables that choose it and its address."""

    address: str
    number: int
    variable: str
    address_variable: str = "BIND_ADDRESS"


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
            _refuse_tls(self.settings)
            try:
                self.settings.load()
            except SettingsError as error:
                raise SettingsError(f"{self.name}: {error}") from None


def _refuse_tls(settings: type[ServiceSettings]) -> None:
    for variable in map(settings.variable, ("tls_cert", "tls_key", "tls_ca")):
        if path := os.environ.get(variable):
            raise SettingsError(
                f"{variable}={path!r} is not allowed: make run encrypts nothing, since all of it is on one machine; "
                "containers do, with compose.tls.yaml"
            )


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
    access = _redis_access(settings)
    # A service that has a Redis of its own must not get the password of another.
    redis = {service: {} if f"{service.upper()}_REDIS_URL" in given else access for service in ("webui", "worker")}
    targets = {
        "RNG_TARGET": _target("rng", settings.rng_port, settings.rngs),
        "HASHER_TARGET": _target("hasher", settings.hasher_port, settings.hashers),
    }
    worker = redis["worker"] | {name: value for name, value in targets.items() if name not in given}
    return [
        *([_redis(settings)] if settings.embeds_redis else []),
        *_replicas("rng", settings.rngs, settings.rng_port, settings.rng_metrics_port),
        *_replicas("hasher", settings.hashers, settings.hasher_port, settings.hasher_metrics_port),
        _service("webui", "webui", redis["webui"], settings.webui_port, settings.webui_metrics_port),
        *_replicas("worker", settings.workers, None, settings.worker_metrics_port, worker),
    ]


def variables() -> set[str]:
    """The names of all variables that the services read."""
    return set().union(*(settings.variables() for settings in _SETTINGS.values()))


def page_address(settings: LocalRunSettings) -> tuple[str, int]:
    """Where a browser on this machine finds the page."""
    return _address_to_ask("webui"), settings.webui_port


def _redis_access(settings: LocalRunSettings) -> dict[str, str]:
    if settings.redis_url is not None:
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


def _replicas(
    service: str,
    count: int,
    port: int | None,
    metrics_port: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Numbered instances on consecutive ports, and with metrics on every tenth; a metrics port of 0 is any."""
    for index in range(count):
        yield _service(
            service,
            f"{service}-{index + 1}",
            environment or {},
            None if port is None else port + index,
            metrics_port and metrics_port + index * METRICS_STEP,
        )


def _service(
    service: str, instance: str, environment: Mapping[str, str], port: int | None, metrics_port: int
) -> Program:
    variables = {f"{service.upper()}_PORT": port, f"{service.upper()}_METRICS_PORT": metrics_port}
    address = _bind_address(service)
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
        ports=tuple(
            Port(address, number, variable, _SETTINGS[service].variable("bind_address"))
            for variable, number in variables.items()
            if number
        ),
        settings=_SETTINGS[service],
    )


def _bind_address(service: str) -> str:
    return os.environ.get(_SETTINGS[service].variable("bind_address"), LOOPBACK)


def _address_to_ask(service: str) -> str:
    """The address at which this machine reaches a service."""
    address = _bind_address(service)
    return LOOPBACK if address in {"0.0.0.0", "::"} else address  # noqa: S104 - compared with, not listened on


def _target(service: str, first_port: int, count: int) -> str:
    address = _address_to_ask(service)
    scheme, host = ("ipv6", f"[{address}]") if ":" in address else ("ipv4", address)
    return f"{scheme}:" + ",".join(f"{host}:{first_port + index}" for index in range(count))
