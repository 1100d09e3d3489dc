"""The reference of all variables, generated from the settings classes."""

import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

from chassis.settings import ByPace, Field, ServiceSettings
from docs import with_generated
from local_run.programs import SERVICES
from local_run.settings import LocalRunSettings

PAGE = Path(__file__).with_name("configuration.md")

# What a process finds out by itself.
FOUND = {socket.gethostname: "the host name"}

TABLE = "## {}\n\n| variable | default | allowed | meaning |\n|---|---|---|---|\n{}\n"

# The sections that are not named for the services that read their variables.
TOPICS = {"TLS_": "TLS", "OTEL_": "Tracing", "REDIS_": "Redis"}
SECTIONS = ["All services", "rng and hasher", "worker", "webui", "Redis", "TLS", "Tracing", "make run"]


def page() -> str:
    """Return the text of the page with the tables as they should be."""
    # Readers that differ in nothing but the default share a row.
    rows: defaultdict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    readers: dict[str, type[ServiceSettings]] = {**SERVICES, "make run": LocalRunSettings}
    for reader, settings in readers.items():
        for name, field in settings.fields.items():
            if reader in SERVICES or name not in ServiceSettings.fields:
                rows[name.upper(), field.allowed, field.meaning][reader] = _default(field)
    sections: defaultdict[str, str] = defaultdict(str)
    for (variable, allowed, meaning), defaults in sorted(rows.items()):
        sections[_section(variable, list(defaults))] += (
            f"| `{variable}` | {_together(defaults)} | {allowed.replace('|', '&#124;')} | {meaning} |\n"
        )
    ordered = sorted(sections, key=SECTIONS.index)
    return with_generated(PAGE.read_text(), "".join(TABLE.format(name, sections[name]) for name in ordered))


def _section(variable: str, readers: list[str]) -> str:
    if readers == ["make run"]:
        return "make run"
    for prefix, topic in TOPICS.items():
        if variable.startswith(prefix):
            return topic
    return "All services" if len(readers) == len(SERVICES) else " and ".join(readers)


def _together(defaults: dict[str, str]) -> str:
    values = dict.fromkeys(defaults.values())
    return (
        "; ".join(f"{reader} {value}" for reader, value in defaults.items()) if len(values) > 1 else next(iter(values))
    )


def _default(field: Field) -> str:
    if isinstance(field.default, ByPace):
        return " / ".join(_shown(value, field) for value in field.default)
    return _shown(field.default, field)


def _shown(value: Any, field: Field) -> str:
    if value is None:
        return "`auto`" if "auto" in field.allowed else ""
    if callable(value):
        return FOUND[value]
    return f"`{value}`" if isinstance(value, str) and value else str(value)
