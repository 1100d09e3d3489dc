"""The reference of all variables, generated from the settings classes."""

import socket
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chassis import cpus
from chassis.settings import ByPace, Field, ServiceSettings, Settings
from docs import with_generated
from hasher_svc.settings import HasherSettings
from local_run.settings import LocalRunSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

PAGE = Path(__file__).with_name("configuration.md")

SERVICES: dict[str, type[Settings]] = {
    "rng": RngSettings,
    "hasher": HasherSettings,
    "worker": WorkerSettings,
    "webui": WebuiSettings,
}

# What a process finds out by itself.
FOUND = {socket.gethostname: "the host name", cpus.usable: "the CPUs that it may use"}

HEAD = "| variable | read by | default | allowed | meaning |\n|---|---|---|---|---|\n"


def page() -> str:
    """Return the text of the page with the table as it should be."""
    return with_generated(PAGE.read_text(), HEAD + "".join(_rows()))


def _rows() -> Iterator[str]:
    # Readers that differ in nothing but the default share a row.
    rows: defaultdict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    readers = SERVICES | {"make run": LocalRunSettings}
    for reader, settings in readers.items():
        for name, field in settings.fields.items():
            if reader in SERVICES or name not in ServiceSettings.fields:
                rows[name.upper(), field.allowed, field.meaning][reader] = _default(field)
    for (variable, allowed, meaning), defaults in sorted(rows.items()):
        if len(set(defaults.values())) == 1:
            default = next(iter(defaults.values()))
        else:
            default = "; ".join(f"{reader} {value}" for reader, value in defaults.items())
        reader = "all services" if len(defaults) == len(SERVICES) else ", ".join(defaults)
        yield f"| `{variable}` | {reader} | {default} | {allowed.replace('|', '&#124;')} | {meaning} |\n"


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
