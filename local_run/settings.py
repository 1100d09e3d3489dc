"""The settings of a local run."""

from collections.abc import Mapping
from typing import Any

from chassis.redis.settings import redis_url
from chassis.settings import ServiceSettings, text, whole

LAST_PORT = 65_535

# From one replica's port for metrics to the next one's: those of the other services lie between.
METRICS_STEP = 10


def _replicas(service: str, most: int) -> Any:
    return whole(1, 0, most, "processes", f"The number of {service} replicas.")


def _port(default: int, meaning: str) -> Any:
    return whole(default, 1, LAST_PORT, "TCP port", meaning)


def _metrics_port(default: int, service: str) -> Any:
    return whole(
        default,
        0,
        LAST_PORT,
        "TCP port, 0 for any free one",
        f"`METRICS_PORT` of the first {service}; further replicas have the ports {METRICS_STEP} further on each.",
    )


class LocalRunSettings(ServiceSettings):
    """The settings of a local run, beyond those that every service has."""

    workers: int = _replicas("worker", 100)
    rngs: int = _replicas("rng", 49)
    hashers: int = _replicas("hasher", 49)

    webui_port: int = _port(8_000, "The port of the page.")
    rng_port: int = _port(50_051, "The port of the first rng; further replicas have the ports after it.")
    hasher_port: int = _port(50_151, "The port of the first hasher; further replicas have the ports after it.")
    redis_port: int = _port(6_379, "The port of Redis.")
    rng_metrics_port: int = _metrics_port(9_101, "rng")
    hasher_metrics_port: int = _metrics_port(9_102, "hasher")
    worker_metrics_port: int = _metrics_port(9_103, "worker")
    webui_metrics_port: int = _metrics_port(9_104, "webui")

    redis_url: str | None = redis_url(None, "A Redis server of your own; without it, one is started.")
    data_dir: str = text("data", r".*\S.*", "a folder", "Where the Redis of `make run` keeps its data.")

    @property
    def replicas(self) -> Mapping[str, int]:
        """The number of replicas of each service that can be scaled."""
        return {"rng": self.rngs, "hasher": self.hashers, "worker": self.workers}

    @property
    def embeds_redis(self) -> bool:
        """Whether the run starts a Redis of its own."""
        return self.redis_url is None
