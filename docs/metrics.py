"""The reference of all metrics, generated from what the services register."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from prometheus_client import Metric

from chassis import process
from chassis.health import Health
from chassis.log import STANDARD_OUTPUT, LogOutput
from chassis.settings import ServiceSettings
from chassis.telemetry import Telemetry
from docs import with_generated
from hasher_svc.__main__ import hasher
from local_run.programs import SERVICES
from rng_svc.__main__ import rng
from webui_svc.__main__ import webui
from worker_svc.worker import worker

PAGE = Path(__file__).with_name("metrics.md")

RUN: Mapping[str, Callable[[Any, Telemetry], AbstractAsyncContextManager[None]]] = {
    "rng": rng,
    "hasher": hasher,
    "worker": worker,
    "webui": webui,
}


async def page() -> str:
    """Return the text of the page with the tables as they should be. Every service runs for a moment, on free ports."""
    metrics: dict[str, Metric] = {}
    services: defaultdict[str, list[str]] = defaultdict(list)
    for service in SERVICES:
        async for metric in _registered(service):
            metrics[metric.name] = metric
            services[metric.name].append(service)
    sections: defaultdict[str, list[str]] = defaultdict(list)
    for name, having in sorted(services.items(), key=lambda item: -len(item[1])):
        heading = "Every service" if len(having) == len(SERVICES) else " and ".join(having)
        sections[heading].append(_row(metrics[name]))
    tables = "".join(_section(heading, rows) for heading, rows in sections.items())
    return with_generated(PAGE.read_text(), tables)


async def _registered(service: str) -> AsyncIterator[Metric]:
    settings_class, run = SERVICES[service], RUN[service]
    ports = {"port": 0} if "port" in settings_class.fields else {}
    settings = settings_class(instance=service, metrics_port=0, **_nowhere(settings_class), **ports)
    telemetry = Telemetry(Health())
    async with process.observed(settings, telemetry, LogOutput(STANDARD_OUTPUT)), run(settings, telemetry):
        for metric in telemetry.metrics.collect():
            if metric.name.startswith(("dockercoins_", "grpc_")):
                yield metric


def _nowhere(settings: type[ServiceSettings]) -> dict[str, str]:
    """Return settings with which a service finds none of the others."""
    places = {"redis_url": "redis://127.0.0.1:1", "rng_target": "ipv4:127.0.0.1:1", "hasher_target": "ipv4:127.0.0.1:1"}
    return {name: value for name, value in places.items() if name in settings.fields}


def _row(metric: Metric) -> str:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    # A family has them before it has samples, but under no public name.
    labels = " ".join(f"`{label}`" for label in vars(metric).get("_labelnames", ()))
    return f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |\n"


def _section(heading: str, rows: list[str]) -> str:
    return f"## {heading}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{''.join(rows)}\n"
