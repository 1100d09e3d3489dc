"""What the code itself knows of ports, variables, health and images."""

import re

from support.compose_project import ROOT

import hasher_svc.service
import rng_svc.service
from chassis.health import PROBES
from chassis.settings import ServiceSettings
from hasher_svc.settings import HasherSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    "rng": RngSettings,
    "hasher": HasherSettings,
    "worker": WorkerSettings,
    "webui": WebuiSettings,
}

HEALTH = {"rng": rng_svc.service.SERVICE, "hasher": hasher_svc.service.SERVICE}
"""The name that says whether it is ready, where it speaks gRPC; whether it is alive is under the empty one."""


def variables(service: str) -> set[str]:
    """Those that it knows."""
    return SETTINGS[service].variables()


def ports(service: str) -> dict[str, int]:
    """By variable, where it listens when nothing is said."""
    fields = SETTINGS[service].fields
    return {name.upper(): fields[name].default for name in ("port", "metrics_port") if name in fields}


def health_paths() -> set[str]:
    """What a probe may ask for over HTTP."""
    return set(PROBES)


def user(service: str) -> tuple[int, int]:
    """Uid and gid of its image."""
    found = re.findall(r"^USER (\d+):(\d+)$", (ROOT / f"{service}_svc" / "Dockerfile").read_text(), re.MULTILINE)
    return int(found[-1][0]), int(found[-1][1])
