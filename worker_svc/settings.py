from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from chassis.limits import MAX_BATCH_BYTES, MAX_BATCH_COUNT
from chassis.redis.deployment import HOST_PATTERN, PORT_PATTERN
from chassis.redis.settings import RedisSettings
from chassis.settings import (
    Pace,
    number,
    tcp_port,
    text,
    whole,
)
from chassis.stored import MAX_REPORT_INTERVAL
from worker_svc.compass_search import Point

_IPV4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})" + f":{PORT_PATTERN}"
_IPV6 = rf"\[[0-9A-Fa-f:.]+\]:{PORT_PATTERN}"
_TARGET = (
    rf"dns:(?://(?:{HOST_PATTERN}(?::{PORT_PATTERN})?)?/)?{HOST_PATTERN}:{PORT_PATTERN}"
    rf"|ipv4:{_IPV4}(?:,{_IPV4})*"
    rf"|ipv6:{_IPV6}(?:,{_IPV6})*"
    r"|unix:[^,\s]+"
)
"""Targets as gRPC names them (https://github.com/grpc/grpc/blob/master/doc/naming.md)."""

AUTO = "auto"

FIRST_BATCH_SIZE = 4_096
"""Messages a batch while no better size is known."""

FIRST_WINDOW = 8
"""Batches in flight, likewise; and where the batch size is set and the window is not."""

MAX_WINDOW = 4_096

MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
"""Random bytes that all batches in flight may hold together."""


def whole_or_auto(minimum: int, maximum: int, unit: str) -> Any:
    """A field for a whole number, or for None when the best one is to be found; the pace gives the default."""
    return Field(ge=minimum, le=maximum, description=f"a whole number from {minimum} to {maximum} ({unit}), or {AUTO}")


def _target(default: str) -> Any:
    return text(default, _TARGET, "a gRPC target such as dns:///rng:50051 or ipv4:127.0.0.1:50051,127.0.0.1:50052")


class WorkerSettings(RedisSettings):
    """What worker can be told. At the classic pace it has one batch of one hash in flight and waits 0.1 s each time."""

    service: ClassVar[str] = "worker"

    by_pace: ClassVar[Mapping[Pace, Mapping[str, object]]] = {
        Pace.CLASSIC: {"delay": 0.1, "batch_size": 1, "window_size": 1},
        Pace.FULL: {"delay": 0, "batch_size": AUTO, "window_size": AUTO},
    }

    metrics_port: int = tcp_port(9_103)
    rng_target: str = _target("dns:///rng:50051")
    hasher_target: str = _target("dns:///hasher:50151")
    batch_size: int | None = whole_or_auto(1, MAX_BATCH_COUNT, "messages a batch")
    message_size: int = whole(32, 1, MAX_BATCH_BYTES, "bytes a message")
    window_size: int | None = whole_or_auto(1, MAX_WINDOW, "batches in flight")
    streams: int = whole(64, 1, 1_024, "streams a service")
    generation: float = number(1.8, 0.5, 3_600, "seconds a stream lives")
    target_latency: float = number(0.1, 0.001, 60, "seconds")
    delay: float = number(None, 0, 60, "seconds of waiting a batch")
    report_interval: float = number(1, 0.1, MAX_REPORT_INTERVAL, "seconds")
    difficulty_bits: int = whole(4, 1, 256, "leading zero bits of a coin")
    wallet_limit: int = whole(100_000, 0, 10_000_000, "coins kept")

    @field_validator("batch_size", "window_size", mode="before")
    @classmethod
    def _find_it(cls, value: object) -> object:
        return None if value == AUTO else value

    @model_validator(mode="after")
    def _check_batch_bytes(self) -> Self:
        if self.batch_size is not None and self.batch_size * self.message_size > MAX_BATCH_BYTES:
            raise ValueError(
                f"{self.variable('batch_size')}={self.batch_size} x "
                f"{self.variable('message_size')}={self.message_size} is not allowed: "
                f"a batch must be at most {MAX_BATCH_BYTES} bytes"
            )
        return self

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.tls is not None:
            for name in ("rng_target", "hasher_target"):
                target = getattr(self, name)
                if not target.startswith("dns:"):
                    raise ValueError(
                        f"{self.variable(name)}={target!r} is not allowed with {self.variable('tls_cert')}: it must "
                        "have a name, as dns:///rng:50051 has, for that is what the server's certificate is checked for"
                    )
        return self

    @property
    def start(self) -> Point:
        """The batch size and window to begin with, as far as the bytes allow."""
        fitting = MAX_IN_FLIGHT_BYTES // ((self.window_size or FIRST_WINDOW) * self.message_size)
        found = max(1, min(FIRST_BATCH_SIZE, MAX_BATCH_BYTES // self.message_size, fitting))
        batch_size = self.batch_size or found
        return Point(batch_size, min(self.window_size or FIRST_WINDOW, self._most_batches(batch_size)))

    @property
    def tuned(self) -> bool:
        """Whether better ones are to be looked for."""
        return self.batch_size is None

    def allows(self, point: Point) -> bool:
        """Whether a batch size and window are within the bounds, and as they were set where they were."""
        batch_size, window = point
        return (
            self.batch_size in {None, batch_size}
            and 1 <= batch_size <= MAX_BATCH_COUNT
            and batch_size * self.message_size <= MAX_BATCH_BYTES
            and self.window_size in {None, window}
            and 1 <= window <= min(MAX_WINDOW, self._most_batches(batch_size))
        )

    def _most_batches(self, batch_size: int) -> int:
        return MAX_IN_FLIGHT_BYTES // (batch_size * self.message_size)
