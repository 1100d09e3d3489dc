from typing import Self

from pydantic import model_validator

from chassis.settings import ServiceSettings, redis_url, text, whole

LAST_PORT = 65_535

METRICS_STEP = 10
"""From one replica's port for metrics to the next one's: those of the other services lie between."""


class LocalRunSettings(ServiceSettings):
    """What a local run can be told, beyond what every service can be told."""

    workers: int = whole(1, 1, 100, "worker processes")
    rngs: int = whole(1, 1, 49, "rng processes")
    hashers: int = whole(1, 1, 49, "hasher processes")

    webui_port: int = whole(8_000, 1, LAST_PORT, "TCP port")
    rng_port: int = whole(50_051, 1, LAST_PORT, "TCP port of the first rng")
    hasher_port: int = whole(50_151, 1, LAST_PORT, "TCP port of the first hasher")
    redis_port: int = whole(6_379, 1, LAST_PORT, "TCP port")
    rng_metrics_port: int = whole(9_101, 0, LAST_PORT, "TCP port of the first rng, 0 for any free one")
    hasher_metrics_port: int = whole(9_102, 0, LAST_PORT, "TCP port of the first hasher, 0 for any free one")
    worker_metrics_port: int = whole(9_103, 0, LAST_PORT, "TCP port of the first worker, 0 for any free one")
    webui_metrics_port: int = whole(9_104, 0, LAST_PORT, "TCP port, 0 for any free one")

    redis_url: str = redis_url()
    data_dir: str = text("data", r".*\S.*", "a folder")

    @property
    def embeds_redis(self) -> bool:
        """Whether nobody named a Redis, so that this run brings its own."""
        return "redis_url" not in self.model_fields_set

    @model_validator(mode="after")
    def _check_last_ports(self) -> Self:
        for name, first, count, step in (
            ("RNG_PORT", self.rng_port, self.rngs, 1),
            ("HASHER_PORT", self.hasher_port, self.hashers, 1),
            ("RNG_METRICS_PORT", self.rng_metrics_port, self.rngs, METRICS_STEP),
            ("HASHER_METRICS_PORT", self.hasher_metrics_port, self.hashers, METRICS_STEP),
            ("WORKER_METRICS_PORT", self.worker_metrics_port, self.workers, METRICS_STEP),
        ):
            most = LAST_PORT - (count - 1) * step
            if first > most:
                raise ValueError(f"{name}={first} is not allowed: it must be at most {most} with {count} processes")
        return self
