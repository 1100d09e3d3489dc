"""The programs of a local run: name, command, environment and ports of each, checked before anything starts."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from chassis import listener
from chassis.settings import ServiceSettings, SettingsError
from hasher_svc.settings import HasherSettings
from local_run import embedded_redis
from local_run.settings import METRICS_STEP, LocalRunSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

LOOPBACK = "127.0.0.1"

SERVICES: Mapping[str, type[ServiceSettings]] = {
    "rng": RngSettings,
    "hasher": HasherSettings,
    "worker": WorkerSettings,
    "webui": WebuiSettings,
}


class PortError(Exception):
    """A port is not available. The message is one line that names the program, the port and the variable to change."""


class Stage(IntEnum):
    """The order of starting, the lowest first. Each stage stops when the one above is gone.

    The workers stop first, while the servers that they drain through still serve; Redis stops last, after the last
    report.
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

    def hold(self) -> socket.socket:
        """Listen on the port. Raises OSError, and SettingsError for an address that this machine does not have."""
        # On macOS a port can be taken at 127.0.0.1 although another process has it at all addresses.
        try:
            socket.create_connection((self.address, self.number), 0.2).close()
        except OSError:
            return listener.create(self.address, self.number, self.address_variable)
        raise OSError(errno.EADDRINUSE, "in use")


@dataclass(frozen=True)
class Program:
    """A process to keep running, with this environment on top of our own.

    The log file is where it logs, if that is not its output.
    """

    name: str
    stage: Stage
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    settings: type[ServiceSettings] | None = None
    log_file: str = ""
    # Descriptors that the process inherits.
    descriptors: tuple[int, ...] = ()

    def check_settings(self) -> None:
        """Raise SettingsError if the program would refuse its environment."""
        if self.settings is None:
            return
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            _refuse_tls(self.settings)
            self.settings.load()
        except SettingsError as error:
            raise SettingsError(f"{self.name}: {error}") from None
        finally:
            os.environ.clear()
            os.environ.update(before)


def _refuse_tls(settings: type[ServiceSettings]) -> None:
    for variable in map(settings.variable, ("tls_cert", "tls_key", "tls_ca")):
        if path := os.environ.get(variable):
            raise SettingsError(
                f"{variable}={path!r} is not allowed: make run encrypts nothing, since all of it is on one machine; "
                "containers do, with compose.tls.yaml"
            )


def check_ports(programs: Iterable[Program]) -> None:
    """Raise PortError for the first port that is in use, or that two of the programs have.

    Raises SettingsError for an address that this machine does not have.
    """
    with contextlib.ExitStack() as held:
        for name, port in ((program.name, port) for program in programs for port in program.ports):
            try:
                held.enter_context(port.hold())
            except OSError as error:
                in_use = error.errno == errno.EADDRINUSE
                reason = "is already in use" if in_use else f"can't be used ({error.strerror})"
                message = f"{name}: port {port.number} {reason}; choose another with {port.variable}=…"
                raise PortError(message) from None


def programs(settings: LocalRunSettings, given: frozenset[str], lock: int | None = None) -> list[Program]:
    """Return all programs in the order of starting.

    `given` are the variables that the user has set, `lock` is the descriptor that keeps the data folder locked.
    """
    access = _redis_access(settings)
    # A service with a Redis of its own must not get the password of another one.
    redis = {service: {} if f"{service.upper()}_REDIS_URL" in given else access for service in ("webui", "worker")}
    targets = {
        "RNG_TARGET": _target("rng", settings.rng_port, settings.rngs),
        "HASHER_TARGET": _target("hasher", settings.hasher_port, settings.hashers),
    }
    worker = redis["worker"] | {name: value for name, value in targets.items() if name not in given}
    return [
        *([_redis(settings, lock)] if settings.embeds_redis else []),
        *_replicas("rng", settings.rngs, settings.rng_port, settings.rng_metrics_port),
        *_replicas("hasher", settings.hashers, settings.hasher_port, settings.hasher_metrics_port),
        _service("webui", "webui", redis["webui"], settings.webui_port, settings.webui_metrics_port),
        *_replicas("worker", settings.workers, None, settings.worker_metrics_port, worker),
    ]


def variables() -> set[str]:
    """Return the names of all variables that the services read."""
    return set().union(*(settings.variables() for settings in SERVICES.values()))


def page_address(settings: LocalRunSettings) -> tuple[str, int]:
    """Return the host and port at which a browser on this machine finds the page."""
    return _reachable_address("webui"), settings.webui_port


def _redis_access(settings: LocalRunSettings) -> dict[str, str]:
    if settings.redis_url is not None:
        return {"REDIS_URL": settings.redis_url}
    return {
        "REDIS_URL": embedded_redis.url(settings.redis_port),
        "REDIS_PASSWORD_FILE": embedded_redis.password_file(settings.data_dir),
    }


def _redis(settings: LocalRunSettings, lock: int | None) -> Program:
    return Program(
        name="redis",
        stage=Stage.REDIS,
        command=embedded_redis.command(settings.redis_port, settings.data_dir, with_password=True),
        ports=(Port(embedded_redis.HOST, settings.redis_port, "REDIS_PORT"),),
        log_file=embedded_redis.log_file(settings.data_dir),
        # The folder stays locked as long as the server runs, whatever becomes of this process.
        descriptors=() if lock is None else (lock,),
    )


def _replicas(
    service: str, count: int, port: int | None, metrics_port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Yield numbered instances on consecutive ports, and with metrics on every tenth; 0 means any free port."""
    for index in range(count):
        own_port = None if port is None else port + index
        own_metrics_port = metrics_port and metrics_port + index * METRICS_STEP
        yield _service(service, f"{service}-{index + 1}", environment or {}, own_port, own_metrics_port)


def _service(
    service: str, instance: str, environment: Mapping[str, str], port: int | None, metrics_port: int
) -> Program:
    settings = SERVICES[service]
    numbers = {"PORT": port, "METRICS_PORT": metrics_port}
    own = {"INSTANCE": instance, **{name: str(number) for name, number in numbers.items() if number is not None}}
    return Program(
        name=instance,
        stage=Stage.WORKERS if service == "worker" else Stage.SERVERS,
        command=(sys.executable, "-m", f"{service}_svc"),
        environment={**environment, **own},
        ports=tuple(
            Port(_bind_address(service), number, f"{service.upper()}_{name}", settings.variable("bind_address"))
            for name, number in numbers.items()
            if number
        ),
        settings=settings,
    )


def _bind_address(service: str) -> str:
    return os.environ.get(SERVICES[service].variable("bind_address"), LOOPBACK)


def _reachable_address(service: str) -> str:
    address = _bind_address(service)
    return LOOPBACK if address in {"0.0.0.0", "::"} else address  # noqa: S104 - compared with, not listened on


def _target(service: str, first_port: int, count: int) -> str:
    address = _reachable_address(service)
    scheme, host = ("ipv6", f"[{address}]") if ":" in address else ("ipv4", address)
    return f"{scheme}:" + ",".join(f"{host}:{first_port + index}" for index in range(count))
