"""A whole system of real processes that tells a collector what it does."""

from collections.abc import Mapping
from dataclasses import dataclass

from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target

SOON = {"OTEL_BSP_SCHEDULE_DELAY": 100}
"""Milliseconds between two messages to the collector."""


@dataclass
class TracedSystem:
    rngs: list[ServiceProcess]
    hashers: list[ServiceProcess]
    worker: ServiceProcess

    def stop(self) -> list[int]:
        """In the order that `make run` and compose keep."""
        return [process.stop() for process in (self.worker, *self.rngs, *self.hashers)]


def start(
    processes: ServiceProcesses,
    redis: RedisServer,
    collector: str,
    *,
    rngs: tuple[Mapping[str, object], ...] = ({},),
    hashers: tuple[Mapping[str, object], ...] = ({},),
    worker: Mapping[str, object] | None = None,
    everyone: Mapping[str, object] | None = None,
) -> TracedSystem:
    """With these settings for everyone, and what each one has beyond that."""
    everywhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, **SOON, **(everyone or {})}
    rng = [processes.start("rng", **{**everywhere, **own}) for own in rngs]
    hasher = [processes.start("hasher", **{**everywhere, **own}) for own in hashers]
    targets = {"RNG_TARGET": local_target(*rng), "HASHER_TARGET": local_target(*hasher)}
    own = {"REDIS_URL": redis.url, **targets, **(worker or {})}
    return TracedSystem(rng, hasher, processes.start("worker", **{**everywhere, **own}))
