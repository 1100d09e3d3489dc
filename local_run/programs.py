"""The programs of a local run: name, command, environment and ports of each, checked before anything starts."""

import errno
import os
import socket
import sys
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from chassis import listener
from chassis.settings import ServiceSettings, SettingsError
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

    @property
    def host(self) -> str:
        """The address at which clients on this machine find it."""
        return LOOPBACK if self.address in {"0.0.0.0", "::"} else self.address  # noqa: S104 - compared with

    @property
    def target(self) -> str:
        """The gRPC target of a server that listens there."""
        return f"ipv{6 if ':' in self.host else 4}:{listener.host_port(self.host, self.number)}"

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

    The first port is the one that its clients use. The log file is where it logs, if that is not its output.
    """

    name: str
    stage: Stage
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    log_file: str = ""
    # Descriptors that the process inherits.
    descriptors: tuple[int, ...] = ()


class Plan:
    """Makes the programs of a run, and gives each its ports."""

    def __init__(
        self, settings: LocalRunSettings, given: AbstractSet[str], addresses: Path, lock: int | None = None
    ) -> None:
        """Plan a run of which the user has set the variables `given`. Raises SettingsError and PortError.

        The folder `addresses` is for the files by which workers find the other services, and `lock` is the descriptor
        that keeps the data folder locked.
        """
        self._notes: list[str] = []
        self._settings = settings
        self._given = given
        self._addresses = addresses
        self._taken: set[int] = set()
        # The Redis that is started here, if one is; and the page.
        self._redis = self._embedded_redis(lock) if settings.embeds_redis else None
        self._webui = self._service("webui", "webui", 0)

    def initial_programs(self) -> list[Program]:
        """Return all programs of the start, in its order. Raises SettingsError and PortError."""
        counts = self._settings.replicas.items()
        replicas = [self.replica(service, index + 1) for service, count in counts for index in range(count)]
        return [*([self._redis] if self._redis else []), self._webui, *replicas]

    @property
    def page(self) -> Port:
        """Where the page is."""
        return self._webui.ports[0]

    def replica(self, service: str, number: int) -> Program:
        """Return a replica. Raises SettingsError and PortError."""
        return self._service(service, f"{service}-{number}", number - 1)

    def release(self, program: Program) -> None:
        """Let others have the ports of a program that has stopped."""
        self._taken -= {port.number for port in program.ports}

    def take_notes(self) -> list[str]:
        """Return the ports that are not the usual ones since the last call, as lines for people."""
        notes, self._notes = self._notes, []
        return notes

    def publish(self, programs: Collection[Program]) -> None:
        """Have workers find the rngs and hashers among these programs, and no others."""
        for service in DISCOVERED:
            file = self._addresses / service
            new = file.with_suffix(".new")
            new.write_text(
                "".join(f"{each.ports[0].target}\n" for each in programs if each.name.startswith(f"{service}-"))
            )
            new.replace(file)

    def _embedded_redis(self, lock: int | None) -> Program:
        port, data_dir = self._port("redis", "redis_port", embedded_redis.HOST), self._settings.data_dir
        return Program(
            name="redis",
            stage=Stage.REDIS,
            command=embedded_redis.command(port.number, data_dir, with_password=True),
            ports=(port,),
            log_file=embedded_redis.log_file(data_dir),
            # The folder stays locked as long as the server runs, whatever becomes of this process.
            descriptors=() if lock is None else (lock,),
        )

    def _service(self, service: str, name: str, index: int) -> Program:
        environment = {**self._access(service), "INSTANCE": name, "METRICS_PORT": "0"}
        bind = _check(service, name, environment)
        ports: dict[str, Port] = {}
        if service != "worker":
            ports["PORT"] = self._port(name, f"{service}_port", *bind, index)
        if getattr(self._settings, f"{service}_metrics_port"):
            ports["METRICS_PORT"] = self._port(name, f"{service}_metrics_port", *bind, index, METRICS_STEP)
        return Program(
            name=name,
            stage=Stage.WORKERS if service == "worker" else Stage.SERVERS,
            command=(sys.executable, "-m", f"{service}_svc"),
            environment=environment | {variable: str(port.number) for variable, port in ports.items()},
            ports=tuple(ports.values()),
        )

    def _access(self, service: str) -> dict[str, str]:
        """Return where a service finds the others."""
        access: dict[str, str] = {}
        if service == "worker":
            targets = {f"{name.upper()}_TARGET": f"file:{self._addresses / name}" for name in DISCOVERED}
            access |= {name: value for name, value in targets.items() if name not in self._given}
        # A service with a Redis of its own must not get the password of another one.
        if service in {"worker", "webui"} and f"{service.upper()}_REDIS_URL" not in self._given:
            if self._settings.redis_url is not None:
                access["REDIS_URL"] = self._settings.redis_url
            elif self._redis:
                access["REDIS_URL"] = embedded_redis.url(self._redis.ports[0].number)
                access["REDIS_PASSWORD_FILE"] = embedded_redis.password_file(self._settings.data_dir)
        return access

    def _port(  # noqa: PLR0913, PLR0917 - what a line about a port consists of
        self, name: str, setting: str, address: str, variable: str = "BIND_ADDRESS", index: int = 0, step: int = 1
    ) -> Port:
        """Return the first free port from the usual one on.

        Raises PortError if none is left, or the user has set one that is not free.
        """
        usual = getattr(self._settings, setting) + index * step
        for number in range(usual, LAST_PORT + 1, step):
            port = Port(address, number, setting.upper(), variable)
            reason = "is already in use" if number in self._taken else port.problem()
            if not reason:
                self._taken.add(number)
                if number != usual:
                    self._notes.append(
                        f"{name}: port {usual} is already in use, so it has {number}; {port.variable}=… chooses another"
                    )
                return port
            if index == 0 and port.variable in self._given:
                raise PortError(f"{name}: port {number} {reason}; choose another with {port.variable}=…")
        raise PortError(f"{name}: no port from {usual} on is free; choose others with {setting.upper()}=…")


def variables() -> set[str]:
    """Return the names of all variables that the services read."""
    return set().union(*(settings.variables() for settings in SERVICES.values()))


def _check(service: str, name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the address that a service will listen on, and the variable that sets it.

    Raises SettingsError if the service would refuse its environment, which is this one on top of ours.
    """
    settings = SERVICES[service]
    for variable in map(settings.variable, ("tls_cert", "tls_key", "tls_ca")):
        if path := os.environ.get(variable):
            raise SettingsError(
                f"{variable}={path!r} is not allowed: make run encrypts nothing, since all of it is on one machine; "
                "containers do, with compose.tls.yaml"
            )
    # PORT is set to one of ours.
    given = {each.lower(): value for each, value in environment.items()} | ({} if service == "worker" else {"port": 0})
    try:
        return settings.load(**given).bind_address, settings.variable("bind_address")
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None
