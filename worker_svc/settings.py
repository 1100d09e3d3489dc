"""The settings of worker."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from chassis.batch_limits import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from chassis.redis.schema import MAX_REPORT_INTERVAL_S
from chassis.redis.settings import RedisSettings
from chassis.settings import (
    HOST_PATTERN,
    PORT_PATTERN,
    STOP_LIMIT_S,
    ByPace,
    Field,
    SettingsError,
    number,
    text,
    whole,
)

_IPV4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})" + f":{PORT_PATTERN}"
_IPV6 = rf"\[[0-9A-Fa-f:.]+\]:{PORT_PATTERN}"
# Targets as gRPC names them (https://github.com/grpc/grpc/blob/master/doc/naming.md), and files of addresses.
_TARGET = (
    rf"(?:dns:(?://(?P<server>{HOST_PATTERN}(?::{PORT_PATTERN})?)?/)?)?"
    rf"(?P<authority>(?P<host>{HOST_PATTERN}):(?P<port>{PORT_PATTERN}))"
    rf"|(?P<addresses>ipv4:{_IPV4}(?:,{_IPV4})*|ipv6:{_IPV6}(?:,{_IPV6})*|unix:[^,\s]+)"
    r"|file:(?P<file>/.+)"
)

AUTO = "auto"

# While no better sizes are known. The window is also that of a batch size that is set.
FIRST_BATCH_SIZE = 16_384
FIRST_WINDOW = 8

MAX_WINDOW = 4_096

# Random bytes that all batches in flight may hold together.
MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024


def _whole_or_auto(maximum: int, unit: str, meaning: str) -> Any:
    bounded: Field = whole(ByPace(1, None), 1, maximum, unit, meaning)

    def read(value: str) -> object:
        return None if value == AUTO else bounded.read(value)

    return bounded._replace(read=read, allowed=f"{bounded.allowed}, or {AUTO}")


def parse_target(target: str) -> dict[str, str]:
    """Return the parts of a target: server, authority, host and port; addresses; or file. The others are empty.

    The authority, NAME:PORT, is what a server is called in requests, and in its certificate. Raises ValueError.
    """
    match = re.fullmatch(_TARGET, target)
    if match is None:
        raise ValueError(f"{target!r} is not a target")
    return match.groupdict(default="")


def _target(service: str, port: int) -> Any:
    return text(
        f"dns:///{service}:{port}",
        _TARGET,
        "a gRPC target such as dns:///rng:50051 or ipv4:127.0.0.1:50051,127.0.0.1:50052, or file:/PATH",
        f"Where {service} is found; a file has a target of one address per line. `make run` sets its own.",
    )


class Sizes(NamedTuple):
    """Messages per batch, and batches in flight."""

    batch_size: int
    window: int


class WorkerSettings(RedisSettings):
    """The settings of worker. At the classic pace it has one batch of one hash in flight and waits 0.1 s each time."""

    service: ClassVar[str] = "worker"
    defaults: ClassVar[Mapping[str, Any]] = {"metrics_port": 9_103}

    rng_target: str = _target("rng", 50_051)
    hasher_target: str = _target("hasher", 50_151)
    batch_size: int | None = _whole_or_auto(
        MAX_BATCH_MESSAGES, "hashes", "The size of a batch; `auto` finds the fastest by itself."
    )
    message_size: int = whole(
        32, 1, MAX_BATCH_BYTES, "bytes per hash", "How many bytes are hashed at a time; a batch is at most 2 MiB."
    )
    window_size: int | None = _whole_or_auto(
        MAX_WINDOW,
        "batches",
        "How many batches are in flight; `auto` goes with the batch size, and is 8 where that is set.",
    )
    max_endpoints: int = whole(
        64,
        1,
        1_024,
        "endpoints",
        "The most addresses of a service that a worker connects to; of more it uses a part, which changes.",
    )
    target_latency: float = number(
        0.1, 0.001, 60, "seconds", "The time in which 99 of 100 batches are done, for what `auto` may choose."
    )
    delay: float = number(ByPace(0.1, 0), 0, 60, "seconds", "How long the worker waits per batch.")
    report_interval: float = number(1, 0.1, MAX_REPORT_INTERVAL_S, "seconds", "The time between a worker's reports.")
    stop_limit: float = number(
        STOP_LIMIT_S,
        STOP_LIMIT_S,
        600,
        "seconds",
        "The longest time to stop: while Redis is away, the worker tries to send its last reports. What stops it must "
        "allow that time, as Kubernetes does; `make run` and the compose and stack files do not.",
    )
    difficulty_bits: int = whole(4, 1, 256, "bits", "The leading zero bits of a coin.")
    wallet_limit: int = whole(
        100_000, 0, 10_000_000, "coins", "How many coins are kept with what was hashed; all are counted."
    )

    def check(self) -> None:
        """Raise SettingsError for a batch that is too large, and with TLS for a target without a name."""
        super().check()
        if self.batch_size is not None and self.batch_size * self.message_size > MAX_BATCH_BYTES:
            raise SettingsError(
                f"{self.variable('batch_size')}={self.batch_size} x "
                f"{self.variable('message_size')}={self.message_size} is not allowed: "
                f"a batch must be at most {MAX_BATCH_BYTES} bytes"
            )
        for name, target in (("rng_target", self.rng_target), ("hasher_target", self.hasher_target)):
            if self.tls is not None and not parse_target(target)["authority"]:
                raise SettingsError(
                    f"{self.variable(name)}={target!r} is not allowed with {self.variable('tls_cert')}: it must have a "
                    "name, as dns:///rng:50051 has, for that is what the server's certificate is checked for"
                )

    @property
    def initial_sizes(self) -> Sizes:
        """The sizes to begin with, as far as the bytes allow."""
        fitting = MAX_IN_FLIGHT_BYTES // ((self.window_size or FIRST_WINDOW) * self.message_size)
        found = max(1, min(FIRST_BATCH_SIZE, MAX_BATCH_BYTES // self.message_size, fitting))
        batch_size = self.batch_size or found
        return Sizes(batch_size, min(self.window_size or FIRST_WINDOW, self._max_window(batch_size)))

    @property
    def autotunes(self) -> bool:
        """Whether better sizes are searched for."""
        return self.batch_size is None

    def allows(self, sizes: Sizes) -> bool:
        """Whether sizes are within the bounds, and as they were set where they were."""
        batch_size, window = sizes
        return (
            self.batch_size in {None, batch_size}
            and 1 <= batch_size <= MAX_BATCH_MESSAGES
            and batch_size * self.message_size <= MAX_BATCH_BYTES
            and self.window_size in {None, window}
            and 1 <= window <= min(MAX_WINDOW, self._max_window(batch_size))
        )

    def _max_window(self, batch_size: int) -> int:
        return MAX_IN_FLIGHT_BYTES // (batch_size * self.message_size)
