"""The programs of a local run: name, command, environment and ports of each, checked before anything starts."""

import errno
import os
import socket
import sys
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path

from chassis import listener
from chassis.settings import ServiceSettings, SettingsError, refusal
from hasher_svc.settings import HasherSettings
from local_run import embedded_redis
from local_run.settings import LAST_PORT, METRICS_STEP, LocalRunSettings
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


# The services that workers find by files of addresses, one for each.
DISCOVERED = ("rng", "hasher")


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

    def problem(self) -> str:
        """Return why the port can't be used, or nothing. Raises SettingsError for an address of another machine."""
        try:
            # On macOS a port can be taken at 127.0.0.1 although another process has it at all addresses.
            socket.create_connection((self.address, self.number), 0.2).close()
        except OSError:
            try:
                listener.create(self.address, self.number, self.address_variable).close()
            except OSError as error:
                return "is already in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
            return ""
        return "is already in use"


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

    @property
    def target(self) -> str:
        """The gRPC target of an rng or a hasher."""
        host = _reachable_address(self.name.rpartition("-")[0])
        return f"ipv6:[{host}]:{self.environment['PORT']}" if ":" in host else f"ipv4:{host}:{self.environment['PORT']}"

    def with_environment(self, environment: Mapping[str, str]) -> "Program":
        """Return the same program with these variables on top."""
        return replace(self, environment={**self.environment, **environment})

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


class Plan:
    """Makes the programs of a run, and gives each its ports."""

    def __init__(
        self, settings: LocalRunSettings, given: AbstractSet[str], addresses: Path, lock: int | None = None
    ) -> None:
        """Plan a run of which the user has set the variables `given`.

        The folder `addresses` is for the files by which workers find the other services, and `lock` is the descriptor
        that keeps the data folder locked.
        """
        self.settings = settings
        # Ports that are not the usual ones, as lines for people.
        self.notes: list[str] = []
        self._given = given
        self._addresses = addresses
        self._lock = lock
        self._taken: set[int] = set()
        redis_port = self._port("redis", "redis_port", embedded_redis.HOST) if settings.embeds_redis else None
        self._redis_port = redis_port and redis_port.number
        self._page_port = self._port("webui", "webui_port", *_bind_address("webui"))

    def initial_programs(self) -> list[Program]:
        """Return all programs of the start, in its order. Raises SettingsError and PortError."""
        counts = {"rng": self.settings.rngs, "hasher": self.settings.hashers, "worker": self.settings.workers}
        replicas = [self.replica(service, index + 1) for service, count in counts.items() for index in range(count)]
        webui = self._service("webui", "webui", {}, 0, self._page_port)
        return [*([self._redis()] if self._redis_port else []), webui, *replicas]

    @property
    def page_port(self) -> int:
        """The port of the page."""
        return self._page_port.number if self._page_port else 0

    def replica(self, service: str, number: int, **environment: str) -> Program:
        """Return a replica, with this environment on top. Raises SettingsError and PortError."""
        name = f"{service}-{number}"
        port = None if service == "worker" else self._port(name, f"{service}_port", *_bind_address(service), number - 1)
        return self._service(service, name, environment, number - 1, port)

    def release(self, program: Program) -> None:
        """Let others have the ports of a program that has stopped."""
        self._taken -= {port.number for port in program.ports}

    def publish(self, programs: Collection[Program]) -> None:
        """Have workers find the rngs and hashers among these programs, and no others."""
        for service in DISCOVERED:
            file = self._addresses / service
            new = file.with_suffix(".new")
            new.write_text("".join(f"{each.target}\n" for each in programs if each.name.startswith(f"{service}-")))
            new.replace(file)

    def _redis(self) -> Program:
        port, data_dir = self._redis_port or 0, self.settings.data_dir
        return Program(
            name="redis",
            stage=Stage.REDIS,
            command=embedded_redis.command(port, data_dir, with_password=True),
            ports=(Port(embedded_redis.HOST, port, "REDIS_PORT"),),
            log_file=embedded_redis.log_file(data_dir),
            # The folder stays locked as long as the server runs, whatever becomes of this process.
            descriptors=() if self._lock is None else (self._lock,),
        )

    def _service(
        self, service: str, instance: str, environment: Mapping[str, str], index: int, port: Port | None = None
    ) -> Program:
        metrics = self._port(instance, f"{service}_metrics_port", *_bind_address(service), index, METRICS_STEP)
        ports = tuple(each for each in (port, metrics) if each)
        numbers = {"PORT": port, "METRICS_PORT": metrics}
        program = Program(
            name=instance,
            stage=Stage.WORKERS if service == "worker" else Stage.SERVERS,
            command=(sys.executable, "-m", f"{service}_svc"),
            environment={
                **self._access(service),
                "INSTANCE": instance,
                "METRICS_PORT": "0",
                **{name: str(each.number) for name, each in numbers.items() if each},
                **environment,
            },
            ports=ports,
            settings=SERVICES[service],
        )
        program.check_settings()
        return program

    def _access(self, service: str) -> dict[str, str]:
        """Return where a service finds the others."""
        access: dict[str, str] = {}
        if service == "worker":
            targets = {f"{name.upper()}_TARGET": f"file:{self._addresses / name}" for name in DISCOVERED}
            access |= {name: value for name, value in targets.items() if name not in self._given}
        # A service with a Redis of its own must not get the password of another one.
        if service in {"worker", "webui"} and f"{service.upper()}_REDIS_URL" not in self._given:
            if self.settings.redis_url is not None:
                access["REDIS_URL"] = self.settings.redis_url
            else:
                access["REDIS_URL"] = embedded_redis.url(self._redis_port or 0)
                access["REDIS_PASSWORD_FILE"] = embedded_redis.password_file(self.settings.data_dir)
        return access

    def _port(  # noqa: PLR0913, PLR0917 - what a line about a port consists of
        self, name: str, setting: str, address: str, variable: str = "BIND_ADDRESS", index: int = 0, step: int = 1
    ) -> Port | None:
        """Return the first free port from the usual one on; None for any free one.

        Raises PortError if none is left, or the user has set one that is not free.
        """
        first: int = getattr(self.settings, setting)
        if not first:
            return None
        usual = first + index * step
        for number in range(usual, LAST_PORT + 1, step):
            port = Port(address, number, setting.upper(), variable)
            reason = "is already in use" if number in self._taken else port.problem()
            if not reason:
                self._taken.add(number)
                if number != usual:
                    self.notes.append(
                        f"{name}: port {usual} is already in use, so it has {number}; {port.variable}=… chooses another"
                    )
                return port
            if index == 0 and port.variable in self._given:
                raise PortError(f"{name}: port {number} {reason}; choose another with {port.variable}=…")
        raise PortError(f"{name}: no port from {usual} on is free; choose others with {setting.upper()}=…")


def variables() -> set[str]:
    """Return the names of all variables that the services read."""
    return set().union(*(settings.variables() for settings in SERVICES.values()))


def page_host() -> str:
    """Return the address at which a browser on this machine finds the page."""
    return _reachable_address("webui")


def _bind_address(service: str) -> tuple[str, str]:
    """Return the address that a service listens on, and the variable that sets it. Raises SettingsError."""
    settings = SERVICES[service]
    variable = settings.variable("bind_address")
    field = settings.fields["bind_address"]
    address = os.environ.get(variable, LOOPBACK)
    try:
        field.read(address)
    except ValueError:
        raise refusal(variable, address, field.allowed) from None
    return address, variable


def _reachable_address(service: str) -> str:
    address, _ = _bind_address(service)
    return LOOPBACK if address in {"0.0.0.0", "::"} else address  # noqa: S104 - compared with, not listened on
